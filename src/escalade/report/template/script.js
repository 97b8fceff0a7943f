"use strict";
(() => {
  const tip = document.getElementById("tip");
  const labelled = (node) => (node instanceof Element ? node.closest("svg [aria-label].tip, svg a[aria-label]") : null);
  const show = (mark, x, y) => {
    tip.textContent = mark.getAttribute("aria-label");
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = Math.min(x + 14, innerWidth - box.width - 8);
    const top = y + 18 + box.height > innerHeight ? y - box.height - 12 : y + 18;
    tip.style.setProperty("left", Math.max(8, left) + "px");
    tip.style.setProperty("top", Math.max(8, top) + "px");
  };
  const hide = () => { tip.hidden = true; };
  document.addEventListener("pointermove", (event) => {
    const mark = labelled(event.target);
    if (mark) show(mark, event.clientX, event.clientY); else hide();
  });
  document.addEventListener("focusin", (event) => {
    const mark = labelled(event.target);
    if (!mark) return hide();
    const box = mark.getBoundingClientRect();
    show(mark, box.right, box.top);
  });
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, { passive: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    const inner = target.tagName === "SECTION" && target.querySelector(":scope > details");
    if (inner) inner.open = true;
    target.scrollIntoView({ block: "start" });
    const summary = target.querySelector("summary");
    if (summary) summary.focus({ preventScroll: true });
  };
  addEventListener("hashchange", open);
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element && event.target.closest('a[href^="#"]');
    if (link && link.getAttribute("href") === location.hash) open();
  });
  open();

  const table = document.getElementById("all");
  if (!table) return;
  const rows = Array.from(table.tBodies[0].rows, (row) => ({ row, text: row.textContent.toLowerCase() }));
  const filter = document.getElementById("filter");
  const found = document.getElementById("found");
  const section = document.getElementById("problems");
  table.classList.toggle("long", rows.length > 200);
  const sift = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { row, text } of rows) {
      const fits = words.every((word) => text.includes(word));
      row.hidden = !fits;
      if (fits) shown += 1;
    }
    table.classList.toggle("filtered", words.length > 0);
    section.classList.toggle("long-unfiltered", rows.length > 200 && !words.length);
    found.textContent = words.length ? `${shown} of ${rows.length} problems` : `${rows.length} problems`;
  };
  filter.addEventListener("input", sift);
  sift();
})();

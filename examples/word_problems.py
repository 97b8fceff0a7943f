"""Arithmetic word problems, made by a seeded generator: as many as a probe needs to be trained and tried on.

    python examples/word_problems.py 400 --seed 1 > problems.jsonl

Most are stories of one to six steps, told in one of several ways, with numbers of one to three digits; the rest are
questions of nine other forms (speed, area, ages, discounts, ...). Answers follow from the construction, and are whole
numbers or have two decimals. Another seed gives other problems.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from random import Random

_NAMES = """
Ada Bela Cyrus Dalia Edwin Fatou Goran Hilde Ines Jonas Kofi Leila Milan Nora Omar Petra Quinn Rosa Sami Tilda Umar
Vera Wanda Xenia Yusuf Zoe Anouk Bruno Chloe Diego Emre Farah Greta Hugo Irena Jamal Katya Lars Mina Noel
"""
_THINGS = """
marbles stamps postcards seashells beads coins buttons pencils stickers badges acorns candles tiles screws balloons
muffins tickets ribbons photographs bricks plums envelopes walnuts lemons magnets puzzles bookmarks
"""
NAMES, THINGS = _NAMES.split(), _THINGS.split()
PARTS = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth", 6: "a sixth", 8: "an eighth", 10: "a tenth"}
SIZES = ((2, 12), (10, 60), (100, 900))


def problems(count: int, seed: int) -> Iterator[dict[str, str | int]]:
    """Yield `count` problems of different texts; `group` holds together those that differ in their numbers only."""
    random, seen = Random(seed), set[str]()
    while len(seen) < count:
        form = None if random.random() < 0.7 else random.choice(FORMS)
        text, answer, steps = (form or _story)(random)
        if text not in seen:
            seen.add(text)
            ident = f"w{seed}-{len(seen):04d}"
            group = form.__name__.strip("_") if form else ident
            yield {"id": ident, "problem": text, "answer": answer, "steps": steps, "group": group}


def _story(random: Random) -> tuple[str, str, int]:
    """Return a story in which somebody's number of things changes step by step; its answer; how many operations."""
    who, friend = random.sample(NAMES, 2)
    things, low_high = random.choice(THINGS), random.choice(SIZES)
    count = start = random.randint(*low_high)
    said = [
        random.choice(
            [
                f"{who} has {count} {things}.",
                f"There are {count} {things} in the box that {who} keeps under the bed.",
                f"On Monday {who} counts {count} {things}.",
                f"{who}'s collection begins with {count} {things}.",
            ]
        )
    ]
    steps = random.randint(1, 5)
    for _ in range(steps):
        sentence, count = random.choice(STEPS)(random, friend, things, count, low_high)
        said.append(sentence)
    ending = random.random()
    if ending < 0.6:
        asked = random.choice(
            [
                f"How many {things} does {who} have in the end?",
                f"How many {things} are there now?",
                f"What is the number of {things} that {who} ends up with?",
            ]
        )
        return " ".join([*said, asked]), str(count), steps
    if ending < 0.75:
        price = random.choice((0.25, 0.5, 0.75, 1.2, 1.5, 2.4, 3.15))
        asked = f"Each of them sells for ${price:.2f}. How many dollars would all of {who}'s {things} bring in?"
        return " ".join([*said, asked]), _money(round(count * price * 100)), steps + 1
    if ending < 0.9 or count == start:
        extra = random.randint(2, 9)
        missing = -count % extra
        asked = f"{who} wants to share them out equally among {extra} bags. How many more would be needed for that?"
        return " ".join([*said, asked]), str(missing), steps + 1
    word = "more" if count > start else "fewer"
    asked = f"How many {word} {things} does {who} have at the end than at the beginning?"
    return " ".join([*said, asked]), str(abs(count - start)), steps + 1


def _gain(random: Random, friend: str, things: str, count: int, size: tuple[int, int]) -> tuple[str, int]:
    more = random.randint(*size)
    ways = [
        f"Then {friend} brings {more} more.",
        f"A parcel arrives with another {more} {things}.",
        f"At the market, {more} {things} are added.",
        f"{more} further ones turn up behind the sofa.",
    ]
    return random.choice(ways), count + more


def _loss(random: Random, friend: str, things: str, count: int, size: tuple[int, int]) -> tuple[str, int]:
    if count < 4:
        return _gain(random, friend, things, count, size)
    less = random.randint(2, min(count - 1, size[1]))
    ways = [
        f"After that, {less} get lost.",
        f"{friend} receives {less} of them as a present.",
        f"Rain spoils {less} of the {things}.",
        f"{less} {things} are sold to a neighbour.",
    ]
    return random.choice(ways), count - less


def _times(random: Random, friend: str, things: str, count: int, size: tuple[int, int]) -> tuple[str, int]:
    factor, word = random.choice(((2, "doubles"), (3, "triples"), (4, "quadruples")))
    ways = [
        f"A lucky trade {word} the number of {things}.",
        f"By the next week the number {word}.",
        f"{friend} has a machine that {word} whatever number there is, and it is used once.",
    ]
    return random.choice(ways), count * factor


def _part(random: Random, friend: str, things: str, count: int, size: tuple[int, int]) -> tuple[str, int]:
    fitting = [divisor for divisor in PARTS if count % divisor == 0]
    if not fitting:
        return _packs(random, friend, things, count, size)
    divisor = random.choice(fitting)
    ways = [
        f"Then {PARTS[divisor]} of all the {things} are given to {friend}.",
        f"On the way home, {PARTS[divisor]} of them fall into the river.",
        f"{friend} borrows {PARTS[divisor]} of what is there and never brings it back.",
    ]
    return random.choice(ways), count - count // divisor


def _packs(random: Random, friend: str, things: str, count: int, size: tuple[int, int]) -> tuple[str, int]:
    packs, each = random.randint(2, 9), random.choice((4, 5, 6, 8, 10, 12, 15, 24))
    ways = [
        f"Next come {packs} packs of {each} {things} each.",
        f"{friend} hands over {packs} boxes, and each box holds {each}.",
        f"In every one of {packs} drawers, {each} more {things} are found.",
    ]
    return random.choice(ways), count + packs * each


def _percent(random: Random, friend: str, things: str, count: int, size: tuple[int, int]) -> tuple[str, int]:
    fitting = [p for p in (5, 10, 15, 20, 25, 30, 40, 60, 75) if count * p % 100 == 0]
    if not fitting:
        return _loss(random, friend, things, count, size)
    percent = random.choice(fitting)
    ways = [
        f"A careful look shows that {percent}% of them are broken, and these are thrown away.",
        f"{friend} takes {percent}% of the {things}.",
    ]
    return random.choice(ways), count - count * percent // 100


STEPS = (_gain, _gain, _loss, _loss, _times, _part, _packs, _percent)


def _money(cents: int) -> str:
    return str(cents // 100) if cents % 100 == 0 else f"{cents // 100}.{cents % 100:02d}"


def _speed(random: Random) -> tuple[str, str, int]:
    speed, hours, rest = random.randint(8, 95), random.randint(2, 9), random.randint(3, 60)
    vehicle = random.choice(("A bus", "A cyclist", "A ferry", "A freight train", "A balloon", "A tractor"))
    text = (
        f"{vehicle} moves at {speed} kilometres an hour for {hours} hours and covers the last {rest} kilometres "
        f"to the goal more slowly. How long is the whole way, in kilometres?"
    )
    return text, str(speed * hours + rest), 2


def _area(random: Random) -> tuple[str, str, int]:
    length, width = random.randint(5, 48), random.randint(3, 30)
    place = random.choice(("garden", "playground", "hall", "courtyard", "parking lot", "meadow"))
    if random.random() < 0.5:
        return (
            f"A rectangular {place} is {length} m long and {width} m wide. How many metres of fence go around it?",
            str(2 * (length + width)),
            2,
        )
    hole = random.randint(2, min(length, width) - 1)
    return (
        f"A {place} measures {length} m by {width} m. A square of {hole} m by {hole} m in it is taken up by a pond. "
        f"How many square metres are not pond?",
        str(length * width - hole * hole),
        3,
    )


def _ages(random: Random) -> tuple[str, str, int]:
    one, two = random.sample(NAMES, 2)
    young, years, factor = random.randint(4, 19), random.randint(2, 12), random.randint(2, 4)
    text = f"{one} is {factor} times as old as {two}, who is {young}. How old will {one} be in {years} years?"
    return text, str(factor * young + years), 2


def _discount(random: Random) -> tuple[str, str, int]:
    price, percent = random.choice((20, 40, 60, 80, 120, 160)), random.choice((5, 10, 15, 25, 35, 45))
    many = random.randint(1, 5)
    thing = random.choice(("lamp", "jacket", "kettle", "rucksack", "radio", "chair"))
    text = (
        f"A {thing} costs ${price}. In the sale everything is {percent}% cheaper. {random.choice(NAMES)} buys {many} "
        f"of them in the sale. How many dollars is that?"
    )
    return text, _money(price * (100 - percent) * many), 3


def _average(random: Random) -> tuple[str, str, int]:
    count, mean = random.randint(3, 6), random.randint(6, 40)
    offsets = [random.randint(-5, 5) for _ in range(count - 1)]
    values = [mean + offset for offset in offsets]
    last = mean * count - sum(values)
    listed = ", ".join(map(str, values))
    text = (
        f"{random.choice(NAMES)} wants an average of exactly {mean} points over {count} games. The scores so far are "
        f"{listed}. How many points does the last game have to bring?"
    )
    return text, str(last), count


def _minutes(random: Random) -> tuple[str, str, int]:
    hour, minute, length = random.randint(1, 9), random.choice(range(0, 60, 5)), random.choice(range(65, 235, 5))
    what = random.choice(("film", "concert", "boat trip", "football match with all its breaks", "lecture"))
    end = hour * 60 + minute + length
    text = (
        f"A {what} begins at {hour}:{minute:02d} and takes {length} minutes. It ends in the same half of the day. "
        f"How many minutes past the full hour does it end?"
    )
    return text, str(end % 60), 2


def _recipe(random: Random) -> tuple[str, str, int]:
    for_, grams, people = random.choice((2, 4, 5)), random.choice((120, 180, 200, 250, 340)), random.randint(6, 30)
    stuff = random.choice(("flour", "rice", "lentils", "sugar", "potatoes"))
    grams *= for_
    text = (
        f"A recipe for {for_} people takes {grams} g of {stuff}. How many grams of {stuff} are needed for {people} "
        f"people?"
    )
    return text, str(grams // for_ * people), 2


def _wages(random: Random) -> tuple[str, str, int]:
    rate, hours, extra = random.randint(9, 24), random.randint(20, 40), random.randint(1, 8)
    text = (
        f"{random.choice(NAMES)} earns ${rate} an hour, and twice as much for overtime. How many dollars do {hours} "
        f"normal hours and {extra} hours of overtime bring?"
    )
    return text, str(rate * hours + 2 * rate * extra), 4


def _legs(random: Random) -> tuple[str, str, int]:
    cows, hens = random.randint(3, 40), random.randint(3, 40)
    text = (
        f"A farm keeps cows and hens and nothing else. Together they have {cows + hens} heads and "
        f"{4 * cows + 2 * hens} legs. How many cows are there?"
    )
    return text, str(cows), 3


FORMS = (_speed, _area, _ages, _discount, _average, _minutes, _recipe, _wages, _legs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write arithmetic word problems as JSON lines.")
    parser.add_argument("count", type=int, nargs="?", default=400, help="how many (default 400)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (default 1)")
    asked = parser.parse_args()
    for one in problems(asked.count, asked.seed):
        print(json.dumps(one))

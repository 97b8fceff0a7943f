"""Your own problems and your own strategy, answered from recorded samples: no model is needed.

    python examples/bring_your_own.py              # the recording that ships with escalade
    python examples/bring_your_own.py FILE         # one of your own (escalade record), of the same problems

For real models leave `engine` out and give `pool="escalade.toml"`.
"""

import re
import sys

import numpy as np

import escalade
from escalade.problems import shipped_problems

# Problems are dicts: a problem, and perhaps an id, an answer and scores by model alias. A replay finds samples by id.
# The score is a guess from the text, in the place of a probe: the more numbers, the harder for the small model.
problems = [
    {
        "id": known.id,
        "problem": known.text,
        "answer": known.gold,
        "score_0.5B": max(0.0, 1.0 - 0.15 * len(re.findall(r"\d+", known.text))),
    }
    for known in escalade.read_problems(shipped_problems(), limit=24)
]


@escalade.strategy("hard_ones_higher", needs=("0.5B",))
def hard_ones_higher(inputs):
    """Start at 0.5B where its score is at least 0.5, else vote with 1.5B at once."""
    easy = inputs.scores["0.5B"] >= 0.5
    return np.where(easy, "mv_cascade_0.5B_k5_t0.7_1.5B_k3_t0.7", "mv_1.5B_k5_t0.7")


def main() -> None:
    """Answer the problems, print the summary and a few rows."""
    recording = sys.argv[1] if len(sys.argv) > 1 else "shipped"
    results = escalade.run(problems, strategy="hard_ones_higher", engine=f"replay:{recording}", target=0.8)
    print(results.summary())
    for tier in results.summary().tiers:
        print(f"  {tier.model} k={tier.k}: {tier.asked} problems came, {tier.decided} were decided, {tier.cost}")

    table = results.to_pandas()
    columns = ["idx", "majority_vote_extracted_answer", "majority_vote_is_correct", "decided_by", "total_cost_usd"]
    print(table[columns].head(6).to_string(index=False))
    print("right by model:", table.groupby("decided_by")["majority_vote_is_correct"].mean().round(2).to_dict())


if __name__ == "__main__":
    main()

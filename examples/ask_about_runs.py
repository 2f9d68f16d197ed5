"""Ask SQL which method does best on each dataset with each model, and which classes it confuses.

    python examples/ask_about_runs.py [ROOT]

ROOT is the folder or URL of a store; CLIP_ADAPTER_ROOT or ./clip-adapter-store by default.
"""

import sys

from clip_adapter import connect

BEST = """
SELECT dataset, model, arg_max(method, accuracy_mean) AS method, max(accuracy_mean) AS accuracy
FROM leaderboard GROUP BY dataset, model, encoder ORDER BY dataset, model, encoder
"""
CONFUSED = """
SELECT class_name, predicted_name, sum(n) AS images FROM confusion
WHERE label <> predicted GROUP BY ALL ORDER BY images DESC, class_name, predicted_name LIMIT 5
"""


def main(root: str | None = None) -> None:
    """Ask two questions and print the answers."""
    with connect(root) as database:
        for row in database.query(BEST).to_pylist():
            print(f"{row['dataset']} with {row['model']}: {row['method']}, {row['accuracy']:.1%}")
        for row in database.query(CONFUSED).to_pylist():
            print(f"{row['images']} images of {row['class_name']} as {row['predicted_name']}")


if __name__ == "__main__":
    main(*sys.argv[1:])

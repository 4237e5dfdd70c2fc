"""`python -m tests.features`: set up a machine, try every feature in every way, and print the table."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from boot_faults import ROOT, PreparedMachine, colab, set_up
from colab_standin import serving

from tests.features.catalogue import FEATURES
from tests.features.trial import SLOW, WAYS, furnish, opened, outcome, table


def main() -> int:
    """Print the table; return 1 if something works on the machine's own Python and not in another way."""
    arguments = _parser().parse_args()
    if arguments.google_colab:
        os.environ["COLAB_ENV_REAL_GOOGLE_COLAB"] = str(arguments.google_colab.resolve())
    chosen = tuple(each for each in FEATURES if arguments.only in f"{each.group}: {each.name}")
    found = {}
    with colab() as root:
        furnish(root)
        if arguments.stock:
            done = root.run(
                ["/usr/local/bin/uv", "pip", "install", "--python", "/usr/bin/python3", *arguments.stock], timeout=600
            )
            assert done.returncode == 0, done.stderr
        root.path("/content/requirements.txt").write_text("\n".join(arguments.project) + "\n")
        print(set_up(root, arguments.python), flush=True)
        with serving(root) as server:
            machine = PreparedMachine(root=root, server=server, kernel="py" + arguments.python.replace(".", ""))
            for way in arguments.way or WAYS:
                with opened(machine, way) as notebook:
                    found[way] = outcome(notebook, way, slow=arguments.slow, features=chosen)
                for name, answers in found[way].problems.items():
                    for answer, problem in answers.items():
                        if problem:
                            print(f"{way}: {name}{answer and f' ({answer})'}: {problem}", flush=True)
                print(f"{way}: {found[way].seconds:.0f} s", flush=True)
    print("\n".join(table(found, chosen)))
    if arguments.write:
        page = [*_introduction(arguments), "", *table(found, chosen)]
        (ROOT / "docs/features.md").write_text("\n".join(page) + "\n", encoding="utf-8")
    stock = found.get("stock")
    return int(
        any(each.holds(f) is False and (stock is None or stock.holds(f)) for each in found.values() for f in chosen)
    )


def _introduction(arguments: argparse.Namespace) -> list[str]:
    return [
        "# Colab's features, counted",
        "",
        f"What a notebook on Colab can do, tried on Python {arguments.python} in each way that cells can run: *stock* is the machine's own",
        "Python, *switched* another one after `switch()` with a restart, *exec* the same in place, *inside* a `%%colab_env` cell. On the",
        "stand-in for a Colab machine, with the real `google.colab` of April 2026, the real notebook server and Colab's versions of IPython",
        "and ipykernel on the machine's side; the page is the tests' own. Where a feature asks the page, it is tried with a good answer,",
        f"with one that takes {arguments.slow:g} seconds, with a refusal and with an error. `-`: a package that the feature is about is not there.",
        "",
        f"The project has, the newest of each where no version stands, {', '.join(arguments.project) or 'no packages'}.",
        "Written by `python -m tests.features --google-colab DIR --write`; `tests/test_features.py` tries what the small stand-in for",
        "`google.colab` has, in all four ways.",
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.features", description=__doc__)
    parser.add_argument("--google-colab", type=Path, help="a google/colab source tree, in place of the small stand-in")
    parser.add_argument("--python", "--kernel", default="3.12", help="the Python of the kernel")
    parser.add_argument("--project", nargs="*", default=[], metavar="REQUIREMENT", help="what the project needs")
    parser.add_argument(
        "--stock", nargs="*", default=[], metavar="REQUIREMENT", help="what the machine's Python has besides"
    )
    parser.add_argument("--way", choices=WAYS, action="append", help="all four, if none is named")
    parser.add_argument("--only", default="", help="features whose group and name contain this")
    parser.add_argument("--write", action="store_true", help="put the table into docs/features.md")
    parser.add_argument("--slow", type=float, default=SLOW, help="seconds that a slow answer takes")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Damage named environments, and make them again from exports: `python benchmarks/env_corruptions.py`.

`--environments` are made of small wheels and of the project `benchmarks/locks/small`'s packages by their names. Then, `--count`
times, one file of one of them, drawn at random, is damaged in a way drawn at random: `env check --deep` must find it, and
`--repair`, or `env create` where the receipt itself is damaged, must mend it. At the end, every environment is exported, the wheels
are deleted, and all are imported on another root: their locks must be the same, byte by byte. The exit code is 1 when
anything was missed. Needs a package index.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from corruptions import WAYS, change, files  # noqa: E402
from small_wheels import write_wheel  # noqa: E402

NAMED = ("requests", "click", "jinja2")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--environments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {"HOME": scratch, "COLAB_ENV_BASE": f"{scratch}/envs", "COLAB_ENV_HOME": f"{scratch}/colab-env"}
        from colab_env import _report

        with _report.screen(_report.Silent()):
            names = made(Path(scratch), arguments.environments)
            missed = damaged(names, arguments.count, random.Random(arguments.seed), Path(scratch) / "wheels")
            missed += exported(names, Path(scratch))
    return 1 if missed else 0


def made(scratch: Path, count: int) -> list[str]:
    """Make every second environment of wheels, and the others of an index."""
    from colab_env import envs

    names = [f"e{number}" for number in range(count)]
    for number, name in enumerate(names):
        write_wheel(scratch / "wheels", f"p{number}", "1.0", code="def main(): pass", programs=[f"p{number}"])
        create(name, scratch / "wheels")
    assert not [each for each in envs.check(deep=True) if each.problems]
    return names


def create(name: str, wheels: Path) -> None:
    from colab_env import envs

    number = int(name[1:])
    if number % 2:
        envs.create(name, NAMED[number % len(NAMED)])
    else:
        envs.create(name, f"p{number}", wheels=wheels)


def damaged(names: list[str], count: int, chosen: random.Random, wheels: Path) -> int:
    from colab_env import envs

    found, mended, by_create, ways = 0, 0, 0, Counter[str]()
    for number in range(count):
        name, way = chosen.choice(names), chosen.choice(WAYS)
        build = envs.path(name).resolve()
        file = chosen.choice([each for each in files(build) if not each.endswith(".pyc")])
        if (build / file).is_symlink() or not change(build / file, way, chosen):
            (build / file).unlink()
            way = "deleted"
        ways[way] += 1
        was_found = bool(envs.check(name, deep=True)[0].problems)
        is_mended = not envs.check(name, deep=True, repair=True)[0].problems
        if not is_mended:  # its receipt, which says what it was made of
            create(name, wheels)
            is_mended = not envs.check(name, deep=True)[0].problems
            by_create += is_mended
        found, mended = found + was_found, mended + is_mended
        if not (was_found and is_mended):
            print(f"missed: {name}: {file} {way}, found {was_found}, mended {is_mended}", flush=True)
        if number % 20 == 19:
            print(f"{number + 1} tried", file=sys.stderr, flush=True)
    print(
        f"{count} damaged ({', '.join(f'{number} {way}' for way, number in ways.items())}): {found} found, {mended} mended, "
        f"{by_create} of them by `create`: with a receipt that is damaged, nothing else says what it was made of"
    )
    return 2 * count - found - mended


def exported(names: list[str], scratch: Path) -> int:
    from colab_env import env_files, envs

    locks = {name: (envs.path(name) / "pylock.toml").read_bytes() for name in names}
    archives = {name: env_files.export(name, scratch / f"{name}.env.zip").file for name in names}
    shutil.rmtree(scratch / "wheels")
    os.environ["COLAB_ENV_BASE"] = str(scratch / "other")
    same = 0
    for name, file in archives.items():
        where = env_files.import_environment(file).where
        is_same = (where / "pylock.toml").read_bytes() == locks[name] and not envs.check(name, deep=True)[0].problems
        same += is_same
        if not is_same:
            print(f"differs: {name}", flush=True)
    print(f"{len(names)} exported, and made again on another root without their sources: {same} the same")
    return len(names) - same


if __name__ == "__main__":
    sys.exit(main())

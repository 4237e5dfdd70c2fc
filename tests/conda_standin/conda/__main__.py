"""A STAND-IN for conda's command line; see the package. Errors have the class names and texts of the real one."""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from conda import __version__

SETTINGS = json.loads(Path(__file__).with_name("standin.json").read_text())
TERMS = ("https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r")
URL = "<https://conda.anaconda.org/conda-forge/linux-64/repodata.json>"
# fault: (class name, message)
FAULTS = {
    "incomplete-read": ("CondaError", "('Connection broken: IncompleteRead(1024 bytes read, 4096 more expected)')"),
    "http": ("CondaHTTPError", f"HTTP 503 Service Unavailable for url {URL}"),
    "unreachable": ("CondaHTTPError", f"HTTP 000 CONNECTION FAILED for url {URL}"),
    "proxy": ("ProxyError", "Conda cannot proceed due to an error in your proxy configuration."),
    "ssl": ("CondaSSLError", "Encountered an SSL error. Most likely a certificate verification issue."),
    "checksum": (
        "ChecksumMismatchError",
        "Conda detected a mismatch between the expected content and downloaded content",
    ),
    "not-writable": (
        "EnvironmentNotWritableError",
        "The current user does not have write permissions to the environment.",
    ),
    "no-space": ("CondaError", "[Errno 28] No space left on device"),
    "no-channel": ("UnavailableInvalidChannel", "HTTP 404 NOT FOUND for channel nowhere"),
    "odd": ("CondaOddError", "something that nobody has seen before"),
}


class FailedError(Exception):
    pass


def fail(name, message):
    print(
        json.dumps({"caused_by": "None", "error": repr(message), "exception_name": name, "message": message}, indent=2)
    )
    raise FailedError


def next_fault():
    path = os.environ.get("CONDA_STANDIN_FAULTS")
    lines = Path(path).read_text().splitlines() if path and Path(path).exists() else []
    if lines:
        Path(path).write_text("\n".join(lines[1:]))
    return lines[0] if lines else None


def check_terms(prefix, channels):
    if not any(channel == "defaults" or "repo.anaconda.com" in channel for channel in channels):
        return
    accepted = prefix / "accepted-terms"
    if takes_it_for_ci(os.environ) or accepted.exists():
        accepted.write_text("{}")
        return
    listed = "\n".join(f"    - {url}" for url in TERMS)
    fail(
        "CondaToSNonInteractiveError",
        "Terms of Service have not been accepted for the following channels. Please accept or remove them before"
        f" proceeding:\n{listed}\n\nTo accept these channels' Terms of Service, run the following commands:\n"
        + "\n".join(f"    conda tos accept --override-channels --channel {url}" for url in TERMS)
        + "\n\nFor information on safely removing channels from your conda configuration,\n"
        "please see the official documentation:\n"
        "https://www.anaconda.com/docs/tools/working-with-conda/channels",
    )


def takes_it_for_ci(environ):
    """As the plugin of 2026 does: what says no wins; else one that says yes, or one that is only there."""
    said = [environ[name].lower() for name in ("CI", "GITHUB_ACTIONS", "TF_BUILD") if environ.get(name)]
    if any(word in ("false", "0", "no", "off") for word in said):
        return False
    return bool(said) or any(environ.get(name) for name in ("TEAMCITY_VERSION", "BUILD_NUMBER"))


def act_out(fault, prefix):
    if fault == "lost-history":
        (prefix / "conda-meta" / "history").unlink(missing_ok=True)
        fail("CondaError", "a rolled-back transaction")
    if fault == "half":
        (prefix / "bin").mkdir(exist_ok=True)
        (prefix / "bin" / "jupyter").write_text("half written")
        (prefix / "share" / "half").mkdir(parents=True)
        Path(os.environ["INSTALLER_STANDIN_MARK"]).touch()
        time.sleep(60)
    if fault:
        fail(*FAULTS[fault])


async def solve_and_link(prefix, channel, specs, base=()):
    # py-rattler makes its web client before it knows that the channel is a directory.
    certificates = "/etc/ssl/certs/ca-certificates.crt"
    if os.path.exists(certificates):  # noqa: ASYNC240, PTH110
        os.environ.setdefault("SSL_CERT_FILE", certificates)
    sys.path.append(SETTINGS["rattler"])
    import rattler

    base = set(base)
    everything = [rattler.PrefixRecord.from_path(path) for path in (prefix / "conda-meta").glob("*.json")]
    present = [str(record.name.normalized) for record in everything]
    wanted = [*specs, *(name for name in present if name not in base)]
    platforms = ["linux-64", "noarch"]
    try:
        solution = await rattler.solve([rattler.Channel(channel)], wanted, platforms=platforms)
    except Exception as error:  # noqa: BLE001
        text = str(error)
        name = "PackagesNotFoundInChannelsError" if "No candidates were found" in text else "LibMambaUnsatisfiableError"
        fail(name, text)
    await rattler.install(
        solution,
        prefix,
        cache_dir=Path(os.environ.get("CONDA_PKGS_DIRS", prefix / "pkgs")) / "cache",
        installed_packages=everything,
        ignored_packages=base,
        show_progress=False,
    )
    return [str(record.name.normalized) for record in solution]


def install(words):
    parser = argparse.ArgumentParser(prog="conda install")
    for flag in ("-q", "-y", "--json", "--override-channels"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("-c", action="append", default=[])
    parser.add_argument("--prefix", default=sys.prefix)
    parser.add_argument("packages", nargs="+")
    asked = parser.parse_args(words)
    prefix = Path(asked.prefix)
    if not (prefix / "conda-meta" / "history").exists():
        fail("CondaError", "This conda installation has no default base environment.")
    check_terms(prefix, [*asked.c, *([] if asked.override_channels else ["defaults"])])
    act_out(next_fault(), prefix)
    names = asyncio.run(solve_and_link(prefix, SETTINGS["channel"], asked.packages, SETTINGS["base"]))
    finish_entry_points(prefix)
    with (prefix / "conda-meta" / "history").open("a") as history:
        history.write(f"==> {time.time()} <==\n")
    print(json.dumps({"success": True, "prefix": str(prefix), "actions": {"LINK": names}}, indent=2))


def env_create(words):
    parser = argparse.ArgumentParser(prog="conda env create")
    for flag in ("-q", "--json"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("-p", required=True)
    parser.add_argument("-f", required=True)
    asked = parser.parse_args(words)
    prefix, base = Path(asked.p), Path(sys.prefix)
    if not (base / "conda-meta" / "history").exists():
        fail("CondaError", "This conda installation has no default base environment.")
    # The real one asks about the channels of its own configuration, not about those of the file; then it uses both.
    check_terms(base, os.environ.get("CONDA_DEFAULT_CHANNELS", "defaults").split(","))
    specs, by_pip = read_environment(Path(asked.f).read_text())
    act_out(next_fault(), prefix)
    names = asyncio.run(solve_and_link(prefix, SETTINGS["channel"], [*specs, *(["pip"] if by_pip else [])]))
    unpack_python(prefix)
    finish_entry_points(prefix)
    if by_pip:
        install_by_pip(prefix, by_pip, Path(asked.f).parent)
    print(json.dumps({"success": True, "prefix": str(prefix), "actions": {"LINK": names}}, indent=2))


def read_environment(text):
    """Return what `dependencies:` and the `pip:` in it list; the real one reads YAML, the stand-in these lines only."""
    specs, by_pip, section, in_pip = [], [], None, False
    for line in text.splitlines():
        word = line.split(" #")[0].strip()
        if word and not line.startswith((" ", "-", "#")):
            section = word.partition(":")[0]
            if section not in ("name", "channels", "dependencies", "variables"):
                fail("EnvironmentSpecPluginNotDetected", "Unable to detect the environment format for the file.")
        elif section == "dependencies" and word in ("- pip:", "- 'pip':"):
            in_pip = True
        elif section == "dependencies" and word.startswith("- "):
            (by_pip if in_pip and line.startswith("    ") else specs).append(word[2:].strip("'\""))
    if not specs and not by_pip:
        fail("EnvironmentFileEmpty", "the file is empty")
    return specs, by_pip


def unpack_python(prefix):
    # The channel's `python` says only where a real one lies, which would take long to compress.
    said = prefix / "share" / "standin-python"
    if said.exists():
        shutil.copytree(said.read_text(), prefix, symlinks=True, dirs_exist_ok=True)


def install_by_pip(prefix, lines, directory):
    python = [str(prefix / "bin" / "python")]
    subprocess.run([*python, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
    wanted = directory / "condaenv.standin.requirements.txt"
    wanted.write_text("\n".join(lines))
    command = [*python, "-m", "pip", "install", "-U", "-r", str(wanted), "--exists-action=b"]
    done = subprocess.run(command, check=False, cwd=directory, capture_output=True, text=True)
    wanted.unlink()
    if done.returncode:
        print(f"Pip subprocess error:\n{done.stderr}", file=sys.stderr, flush=True)
        fail("CondaEnvException", "Pip failed")


def finish_entry_points(prefix):
    # The real conda writes noarch entry points anew, in place; so this happens to what the package just linked.
    placeholder = b"#!/standin/placeholder"
    for script in (prefix / "bin").iterdir():
        if not script.is_symlink() and script.is_file() and (content := script.read_bytes()).startswith(placeholder):
            script.write_bytes(b"#!" + os.fsencode(prefix) + content.removeprefix(placeholder))


def main():
    words = sys.argv[1:]
    if words == ["--version"]:
        print(f"conda {__version__}")
    elif words[:1] == ["install"]:
        install(words[1:])
    elif words[:2] == ["env", "create"]:
        env_create(words[2:])
    elif words[:2] == ["tos", "accept"]:
        (Path(sys.prefix) / "accepted-terms").write_text("{}")
    else:
        print(f"conda: error: the stand-in does not know {words}", file=sys.stderr)
        return 2
    return 0


try:
    code = main()
except FailedError:
    code = 1
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)  # py-rattler's threads do not always outlive an ordinary exit

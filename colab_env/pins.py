"""Versions this package was tested with. Data only."""

from __future__ import annotations

from dataclasses import dataclass

UV = "0.13.8"
POETRY = "2.5.1"
# Heals Poetry where only PyPI's simple API is served; does nothing without POETRY_PYPI_MIRROR_URL.
POETRY_MIRROR_PLUGIN = "poetry-plugin-pypi-mirror==0.6.5"
# Writes poetry.lock in pip's format, for other installers; a part of Poetry until 2.0.
POETRY_EXPORT_PLUGIN = "poetry-plugin-export==1.10.1"
JUPYTERLAB = "4.6.6"  # in images


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """Packages that are installed in one go: pip's `names`; `alone` means without what they depend on.

    `optional` ones are left out, one by one, where none fit.
    """

    names: tuple[str, ...]
    alone: bool = False
    optional: bool = False


# By Python X.Y: the IPython and ipykernel under which google.colab has every feature. 7.34.0 and 6.17.1 are Colab's own;
# from 3.12 on, `x = !cmd` works with 7.34.0 in the full tier only, and a newer one through _colab_kernel.py.
COLAB = {
    "3.8": ("7.34.0", "6.17.1"),
    "3.9": ("7.34.0", "6.31.0"),
    "3.10": ("8.39.0", "6.17.1"),
    "3.11": ("7.34.0", "6.17.1"),
}
COLAB_NEWER = ("8.39.0", "7.4.0")
# What google.colab imports at its start, and what anywidget and ipywidgets need, without JupyterLab.
COLAB_START = (
    "ipython_genutils<=0.2.0",
    "numpy<=2.5.5",
    "pillow<=13.0.0",
    "httplib2<=0.32.1",
    "pyparsing<=3.3.3",
    "packaging",
    "psutil",
    "pexpect",
    "tornado",
    "psygnal<=0.16.1",
    "typing_extensions",
)
COLAB_WIDGETS = Requirements(names=("ipywidgets==7.7.1", "anywidget<=0.11.0"), alone=True)
# What google.colab imports when it is used: `auth`, `drive` and `html`; `sheets`; `ai`. The newest are Colab's own of August
# 2026 (googlecolab/backend-info).
COLAB_SERVICES = Requirements(names=("google-auth", "requests", "portpicker", "gspread", "openai"), optional=True)
SERVICES_NEWEST = {
    "annotated-types": "0.8.0",
    "anyio": "4.14.2",
    "cachetools": "6.2.6",
    "certifi": "2026.7.22",
    "charset-normalizer": "3.4.9",
    "cryptography": "50.0.0",
    "distro": "1.9.0",
    "google-auth": "2.49.0",
    "google-auth-oauthlib": "1.4.0",
    "gspread": "6.2.1",
    "h11": "0.16.0",
    "httpcore": "1.0.9",
    "httpx": "0.28.1",
    "idna": "3.18",
    "jiter": "0.16.0",
    "oauthlib": "3.3.1",
    "openai": "2.54.0",
    "portpicker": "1.5.2",
    "pyasn1": "0.6.4",
    "pyasn1-modules": "0.4.2",
    "pydantic": "2.13.4",
    "pydantic-core": "2.46.4",
    "requests": "2.32.4",
    "requests-oauthlib": "2.0.0",
    "rsa": "4.9.1",
    "sniffio": "1.3.1",
    "tqdm": "4.67.3",
    "typing-inspection": "0.4.4",
    "urllib3": "2.5.0",
}
# The two oldest are the newest for their Python; IPython is 7.16.3 and 7.34.0 there.
PLAIN = {"3.6": "5.5.6", "3.7": "6.16.2", "3.8": "6.29.5", "3.9": "6.31.0"}
PLAIN_NEWER = "7.1.0"

# What ipykernel brings, in any of its versions: the newest version that was tested, and which ones the others accept, as
# the metadata of the newest say. A project that has an accepted one needs no kernel packages of its own. The newest are
# not always the last: IPython 9.14 asks for psutil 7 and jupyter_client 8.9 for typing_extensions 4.13, which few locks
# have. What no metadata ask for any more is in the list for the sake of older versions. A version above `newest` is never
# installed, so the same is chosen tomorrow.
KERNEL = {
    "asttokens": ("3.0.2", ">=2.1.0,<4"),
    "backcall": ("0.2.0", ""),
    "cffi": ("2.1.1", ""),
    "comm": ("0.2.3", ">=0.1.1,<1"),
    "debugpy": ("1.8.22", ">=1.6.5,<2"),
    "decorator": ("5.3.1", ">=4.3.2,<6"),
    "entrypoints": ("0.4", ""),
    "exceptiongroup": ("1.3.2", ""),
    "executing": ("2.3.0", ">=1.2.0,<3"),
    "importlib-metadata": ("8.7.1", ">=4.8.3"),
    "ipykernel": ("7.4.0", ""),
    "ipython": ("9.10.0", ">=7.23.1,<10"),
    "ipython-genutils": ("0.2.0", ""),
    "ipython-pygments-lexers": ("1.1.1", ">=1.0.0,<2"),
    "jedi": ("0.19.2", ">=0.18.1,<1"),
    "jupyter-client": ("8.6.3", ">=8.0.0,<9"),
    "jupyter-core": ("5.9.1", ">=4.12,!=5.0.*,<6"),
    "matplotlib-inline": ("0.2.2", ">=0.1.5,<1"),
    "nest-asyncio": ("1.6.0", ">=1.4,<2"),
    "nest-asyncio2": ("1.7.4", ">=1.7.0,<2"),
    "packaging": ("26.4", ">=22"),
    "parso": ("0.8.7", ">=0.8.4,<0.9"),
    "pexpect": ("4.9.0", ">4.3,<5"),
    "pickleshare": ("0.7.5", ""),
    "platformdirs": ("4.14.8", ">=2.5,<5"),
    "prompt-toolkit": ("3.0.53", ">=3.0.41,<3.1"),
    "psutil": ("7.2.2", ">=5.7,<8"),
    "ptyprocess": ("0.7.0", ">=0.5"),
    "pure-eval": ("0.2.4", "<1"),
    "py": ("1.11.0", ""),
    "pycparser": ("3.12", ""),
    "pygments": ("2.21.0", ">=2.11.0,<3"),
    "python-dateutil": ("4.0.0", ">=2.8.2,<5"),
    "pyzmq": ("27.3.0", ">=25,<28"),
    "setuptools": ("84.2.1", ">=18.5"),
    "simplegeneric": ("0.8.1", ""),
    "six": ("1.17.0", ">=1.6,<2"),
    "stack-data": ("0.6.3", ">=0.6.0,<1"),
    "tornado": ("6.6.1", ">=6.2,<7"),
    "traitlets": ("5.16.1", ">=5.13.0,<6"),
    "typing-extensions": ("4.16.0", ">=4.6,<5"),
    "tzdata": ("2026.6", ""),
    "wcwidth": ("0.9.4", ">=0.1.4,<1"),
    "zipp": ("3.23.1", ">=3.20"),
}
# Where a layer is resolved around a project's versions: nothing older, whose metadata accept what they do not work with;
# and, where the newest that accept all do not work, what is asked for then.
OLDEST = {"ipykernel": ">=5.3.0,<=7.4.0", "ipython": ">=7.9.0,<=9.10.0"}
MODEST = {"ipython": ">=7.9.0,<=8.12.3"}
# The same for the ipykernel of COLAB_NEWER.
KERNEL_COLAB_NEWER = {
    **KERNEL,
    "jupyter-client": ("8.10.0", ">=8.9.0,<9"),
    "jupyter-core": ("5.9.1", ">=5.1,<6"),
    "tornado": ("6.6.1", ">=6.5.7,<7"),
    "typing-extensions": ("4.16.0", ">=4.13.0,<5"),
}

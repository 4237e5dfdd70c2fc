"""What a package may have been meant whose name no index has: by its import name, or by names that are nearly the same.

No index is asked. Many names that are one letter off are taken, some by people who wait for that letter; those here are the
machine's own packages and ones that notebooks use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

ELSEWHERE = "which index has it"
_NEAR = 0.8  # of two names: skikit-learn and scikit-learn have 0.92, panda and pandas 0.91, nunpy and numpy 0.8
# Names of imports that are not those of their packages.
_OF_IMPORTS = {
    "attr": "attrs",
    "bio": "biopython",
    "bs4": "beautifulsoup4",
    "crypto": "pycryptodome",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "fitz": "pymupdf",
    "git": "gitpython",
    "jwt": "pyjwt",
    "mpl-toolkits": "matplotlib",
    "mysqldb": "mysqlclient",
    "openssl": "pyopenssl",
    "osgeo": "gdal",
    "pil": "pillow",
    "pptx": "python-pptx",
    "psycopg2": "psycopg2-binary",
    "pyplot": "matplotlib",
    "rdkit-chem": "rdkit",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
    "usb": "pyusb",
    "yaml": "pyyaml",
    "zmq": "pyzmq",
}
_USUAL = frozenset(
    """
    accelerate aiohttp altair anthropic anyio arviz astropy autograd beautifulsoup4 biopython black bokeh boto3 bqplot
    cartopy catboost click cvxpy cython dash dask datasets diffusers django duckdb einops evaluate fastapi fastai flask
    folium gensim geopandas gradio gymnasium h5py httpx huggingface-hub hvplot hypothesis imageio ipykernel ipyleaflet
    ipympl ipywidgets jax jaxlib jinja2 joblib jupyter jupyterlab keras kornia langchain librosa lightgbm lightning
    llama-index lmfit lxml matplotlib mlflow mypy nbconvert nbformat networkx nibabel nltk notebook numba numexpr numpy
    openai opencv-python openpyxl optuna pandas panel papermill peft pillow plotly poetry polars prophet psutil pyarrow
    pydantic pydicom pygments pymc pypdf pyserial pyspark pytest python-dateutil python-dotenv pytorch-lightning pytz
    pyvista pywavelets pyyaml qiskit rasterio rdkit requests rich ruff scikit-image scikit-learn scipy seaborn
    sentence-transformers sentencepiece setuptools shap shapely spacy sqlalchemy statsmodels streamlit sympy tabulate
    tensorboard tensorflow tiktoken timm tokenizers torch torchaudio torchvision tqdm transformers trimesh typer umap-learn
    vega-datasets virtualenv wandb wordcloud xarray xgboost xlrd yfinance
    """.split()  # noqa: SIM905  (a name a line would be two hundred lines)
)


# What lists of packages name though no index has it, and why.
_NO_PACKAGES = {
    "pkg-resources": "`pip freeze` of an older Debian or Ubuntu wrote that line, for no package",
    "python": "Python itself is no package: choose one with --python",
}


def hint(name: str, *, fetched: Iterable[str] = ()) -> str:
    """Return what to do about a name that the index does not have; `fetched` are names that it was seen to have before."""
    import difflib
    import sys
    from importlib.metadata import distributions

    wanted = normalized(name)
    if package := _OF_IMPORTS.get(wanted):
        return f"did you mean {package}? {name} is what it is imported as"
    if why := _NO_PACKAGES.get(wanted):
        return f"leave it out: {why}"
    if wanted in map(normalized, getattr(sys, "stdlib_module_names", ())):
        return f"leave it out: {name} is a module that Python itself has"
    # On Colab about six hundred are installed, which most projects take their packages from.
    installed = (distribution.name for distribution in distributions() if distribution.name)
    names = _USUAL.union(map(normalized, (*installed, *fetched))) - {wanted}
    near = difflib.get_close_matches(wanted, sorted(names), n=2, cutoff=_NEAR)
    meant = f"did you mean {' or '.join(near)}? Else check" if near else "check"
    return f"{meant} how it is spelled, or {ELSEWHERE}"


def of_import(module: str) -> str | None:
    """Return the package that a module is known to come from, or None: no index is asked."""
    name = normalized(module)
    return _OF_IMPORTS.get(name) or (name if name in _USUAL else None)


def normalized(name: str) -> str:
    """Return the name of a package, an extra or a dependency group as it is compared (PEP 503, PEP 735)."""
    return re.sub(r"[-_.]+", "-", name).lower()

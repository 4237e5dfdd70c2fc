"""The environment variables of a process on Colab."""

from __future__ import annotations

import os

# What lets the real machine reach the network: its proxies, certificates and package indexes.
_PASSED = ("_proxy", "_ca_bundle", "_ca_certs", "ssl_cert_file", "ssl_cert_dir", "pip_cert")
_PASSED_STARTS = ("pip_index", "pip_extra_index", "pip_find_links", "uv_index", "uv_default_index", "uv_extra_index")

_PATH = (
    "/opt/bin:/usr/local/nvidia/bin:/usr/local/cuda/bin:/usr/local/sbin:/usr/local/bin"
    ":/usr/sbin:/usr/bin:/sbin:/bin:/tools/node/bin:/tools/google-cloud-sdk/bin"
)


def colab_environment(*, ip: str = "127.0.0.1") -> dict[str, str]:
    """Return Colab's variables, for a server on the address `ip`, and the real machine's ways to the network."""
    return {
        "PATH": _PATH,
        "LD_LIBRARY_PATH": "/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
        "HOME": "/root",
        "LANG": "en_US.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": "/env/python",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "UV_SYSTEM_PYTHON": "true",
        "UV_CONSTRAINT": "",
        "COLAB_RELEASE_TAG": "release-colab_20261105-060106_RC00",
        "COLAB_JUPYTER_IP": ip,
        "COLAB_GPU": "",
        "TBE_RUNTIME_ADDR": "172.28.0.1:8011",
        "CLOUDSDK_CONFIG": "/content/.config",
        **{name: value for name, value in os.environ.items() if _is_passed(name.lower())},
    }


def _is_passed(name: str) -> bool:
    return name.endswith(_PASSED) or name.startswith(_PASSED_STARTS)

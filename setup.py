"""Ships the files that enable the server extension on installation; all else stands in pyproject.toml."""

from setuptools import setup

setup(
    data_files=[
        ("etc/jupyter/jupyter_server_config.d", ["jupyter-config/jupyter_server_config.d/bookstore.json"]),
    ]
)

"""Build hook: compile proto/ into common/pb/ before the packages are collected (wheel and editable install alike)."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithProto(build_py):
    def run(self) -> None:
        from grpc_tools import protoc

        sources = sorted((ROOT / "proto").rglob("*.proto"))
        outputs = [f"--{kind}_out={ROOT}" for kind in ("python", "pyi", "grpc_python")]
        arguments = ["protoc", f"-I{ROOT / 'proto'}", *outputs]
        if protoc.main(arguments + [str(source) for source in sources]) != 0:
            raise SystemExit("proto/: protoc failed; its message is above")
        super().run()


setup(cmdclass={"build_py": BuildWithProto})

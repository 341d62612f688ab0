"""Make a release of the last commit; docs/releases-policy.md says what a release is.

`make release` runs this in an environment of its own, .venv/release. The version is the one in
pyproject.toml. The files are written to build/release/VERSION. Nothing is uploaded or pushed. With
`--dry-run`, no image is built and no tag is set; the files are written to build/release/dry-run.
"""

import argparse
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAME = "onnx-serving"
PACKAGES = ("training", "export", "serving", "loadtest")
# The stages of the Dockerfile, and what the tags of their images end with.
IMAGES = {
    "serving-cpu": "",
    "serving-cpu-storage": "-storage",
    "serving-cpu-tensorflow": "-tensorflow",
    "serving-gpu": "-gpu",
    "loadtest": "-loadtest",
    "training": "-training",
}
# Arguments of the build that `docker build` takes from the environment if they are set there.
BUILD_ARGUMENTS = ("BASE_IMAGE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")


def main() -> int:
    """Make the release.

    Returns:
        Exit code: 0 if the release was made, or a dry run found no obstacle; 1 if a step failed;
        2 if the release is refused.
    """
    values = _parser().parse_args()
    version = str(tomllib.loads(_text("pyproject.toml"))["project"]["version"])
    problems = [*_problems(version), *([] if values.dry_run else _no_engine(values.images))]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if problems and not values.dry_run:
        return 2
    output = ROOT / "build" / "release" / ("dry-run" if values.dry_run else version)
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    try:
        _make(version, values, output)
    except subprocess.CalledProcessError as error:
        command = shlex.join(map(str, error.cmd))
        print(f"error: {command} ended with exit code {error.returncode}", file=sys.stderr)
        return 1
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 2 if problems else 0


class ReleaseError(Exception):
    """What was built is not what a release must be."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="build no image and set no tag")
    parser.add_argument(
        "--images",
        nargs="*",
        default=list(IMAGES),
        choices=IMAGES,
        metavar="STAGE",
        help=f"stages of the Dockerfile to build, out of {', '.join(IMAGES)} (default: all)",
    )
    parser.add_argument(
        "--docker-args", default="", help="more arguments of `docker build`, as one text"
    )
    parser.add_argument(
        "--sbom-python", type=Path, required=True, help="the Python that runs deploy/sbom.py"
    )
    return parser


def _problems(version: str) -> Iterator[str]:
    """Yield what stands against a release of the last commit, one line each."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        yield f"pyproject.toml has the version {version}, expected MAJOR.MINOR.PATCH; change it"
    changed = _read("git", "status", "--porcelain").splitlines()
    if changed:
        yield (
            f"the working tree differs from the last commit in {len(changed)} files "
            f"({changed[0][3:]}); commit the changes, or remove them"
        )
    if _read("git", "tag", "--list", f"v{version}"):
        yield f"the tag v{version} exists already; set the next version in pyproject.toml"
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)"
    section = re.search(heading, _text("CHANGELOG.md"), re.MULTILINE | re.DOTALL)
    if section is None:
        yield (
            f'CHANGELOG.md has no section "## [{version}] - YYYY-MM-DD"; put its heading below '
            '"## [Unreleased]"'
        )
    elif not section[1].strip():
        yield f"the section [{version}] of CHANGELOG.md is empty; say what is new for users"


def _no_engine(images: Sequence[str]) -> Iterator[str]:
    """Yield a problem if images are to be built and no Docker engine answers."""
    command = ("docker", "info")
    if not images or (
        shutil.which("docker")
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    ):
        return
    yield "no Docker engine answers `docker info`; start one, or build no image: RELEASE_IMAGES="


def _make(version: str, values: argparse.Namespace, output: Path) -> None:
    """Make the release; in a dry run, print the commands that would leave something behind."""
    commit = _read("git", "rev-parse", "HEAD").strip()
    _say(f"{NAME} {version} from commit {commit}")
    _say("building the source distribution, and the wheel from it")
    wheel = _build(output)
    _check_content(wheel)
    _say("installing the wheel into a fresh environment")
    _check_installation(wheel, version)
    _say("building the images")
    images = _build_images(version, commit, values)
    _say("writing the bills of materials")
    described = [] if values.dry_run else images
    bills = ("--output-dir", output / "sbom")
    _run(values.sbom_python, ROOT / "deploy" / "sbom.py", *bills, *described)
    _say("writing SHA256SUMS")
    _write_sums(output)
    _say("setting the tag")
    tag = ("git", "tag", "--annotate", "--message", f"{NAME} {version}", f"v{version}", commit)
    _run_unless(values.dry_run, *tag)
    _say(f"done: {output.relative_to(ROOT)}. To publish: git push origin v{version}")
    for image in images:
        print(f"  docker push {image}")


def _build(output: Path) -> Path:
    """Build both distributions from the files of the last commit, and return the wheel.

    They are built from a copy, so that no other file of the checkout can get into them. The time
    of the commit stands for the time of every file: the same commit gives the same wheel.
    """
    seconds = _read("git", "log", "-1", "--format=%ct").strip()
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "commit.tar"
        _run("git", "archive", "--output", archive, "HEAD", quiet=True)
        source = Path(folder) / "source"
        with tarfile.open(archive) as files:
            files.extractall(source, filter="data")
        _run(
            *(sys.executable, "-m", "build", "--outdir", output, source),
            environment={"SOURCE_DATE_EPOCH": seconds},
            quiet=True,
        )
    (wheel,) = output.glob("*.whl")
    (sdist,) = output.glob("*.tar.gz")
    print(f"  {sdist.name}, {wheel.name}")
    return wheel


def _check_content(wheel: Path) -> None:
    """Check that the wheel has all files of the packages in the last commit, and no others.

    Raises:
        ReleaseError: A file is missing, or there is one too many.
    """
    listed = _read("git", "ls-tree", "-r", "--name-only", "HEAD", "--", *PACKAGES)
    wanted = set(listed.splitlines())
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    for files, problem in ((wanted - packed, "lacks"), (packed - wanted, "also has")):
        if files:
            msg = (
                f"{wheel.name} {problem} {', '.join(sorted(files)[:5])} ({len(files)} files); "
                "correct [tool.setuptools] in pyproject.toml"
            )
            raise ReleaseError(msg)
    print(f"  {len(packed)} files, all of them in the commit")


def _check_installation(wheel: Path, version: str) -> None:
    """Install the wheel with the extra `serve`, and start the server's commands for their version.

    Raises:
        ReleaseError: A command prints another version.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "environment"
        venv.create(environment, with_pip=True, symlinks=True)
        programs = environment / "bin"
        constraints = ("--constraint", ROOT / "constraints.txt")
        _run(
            *(programs / "python", "-m", "pip", "install", "--quiet"),
            *("--disable-pip-version-check", *constraints, f"{wheel}[serve]"),
        )
        for command in (("python", "-m", "serving"), ("tensorflow_model_server",)):
            printed = _read(programs / command[0], *command[1:], "--version", folder=Path(folder))
            if version not in re.split(r"[\s,+]+", printed):
                msg = f"{command[-1]} --version printed {printed!r}, expected {version}"
                raise ReleaseError(msg)
            print(f"  {command[-1]}: {printed.splitlines()[0]}")


def _build_images(version: str, commit: str, values: argparse.Namespace) -> list[str]:
    """Build the images, and tag them with the version and with MAJOR.MINOR.

    No tag MAJOR.MINOR moves before all images are built.
    """
    minor = version.rpartition(".")[0]
    tags = {
        stage: [f"{NAME}:{number}{IMAGES[stage]}" for number in (version, minor)]
        for stage in values.images
    }
    arguments = [f"--build-arg={name}" for name in BUILD_ARGUMENTS if os.environ.get(name)]
    arguments += [f"--build-arg=VERSION={version}", f"--build-arg=REVISION={commit}"]
    arguments += shlex.split(values.docker_args)
    for stage, (exact, _) in tags.items():
        command = ("docker", "build", "--target", stage, "--tag", exact, *arguments, ".")
        _run_unless(values.dry_run, *command)
    for exact, moving in tags.values():
        _run_unless(values.dry_run, "docker", "tag", exact, moving)
    return [tag for pair in tags.values() for tag in pair]


def _write_sums(output: Path) -> None:
    """Write the SHA-256 of every file, in the form that `sha256sum --check` reads."""
    files = sorted(file for file in output.rglob("*") if file.is_file())
    lines = []
    for file in files:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        lines.append(f"{digest}  {file.relative_to(output).as_posix()}\n")
    (output / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def _text(file: str) -> str:
    path = ROOT / file
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _say(text: str) -> None:
    print(f"release: {text}", flush=True)


def _run_unless(dry_run: bool, *command: str | Path) -> None:
    if dry_run:
        print(f"  would run: {shlex.join(map(str, command))}", flush=True)
    else:
        _run(*command)


def _run(
    *command: str | Path, environment: dict[str, str] | None = None, quiet: bool = False
) -> None:
    """Run a command; if it fails, its output is printed even if it is `quiet`."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        check=False,
    )
    if done.returncode:
        sys.stderr.buffer.write(done.stdout or b"")
        done.check_returncode()


def _read(*command: str | Path, folder: Path = ROOT) -> str:
    """Return what a command prints. It does not import this checkout's packages."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


if __name__ == "__main__":
    sys.exit(main())

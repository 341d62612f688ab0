"""Write software bills of materials (CycloneDX 1.6, JSON) of the package and of images.

`make sbom` runs this in an environment of its own, .venv/sbom. The bill of an image lists what is
installed in it: Python packages, and Debian packages of the base image. It needs Docker.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

ROOT = Path(__file__).parents[1]
# Runs in the image: it prints the packages that its Python can import.
_PYTHON_PACKAGES = """
import importlib.metadata, json
print(json.dumps([[found.name, found.version] for found in importlib.metadata.distributions()]))
"""
# `/etc/os-release` names the distribution and its version, for the addresses of the packages.
_DEBIAN_PACKAGES = """
. /etc/os-release
echo "$ID $ID-$VERSION_ID"
command -v dpkg-query > /dev/null || exit 0
dpkg-query --show --showformat='${Package} ${Version} ${Architecture}\\n'
"""


def main() -> None:
    """Write the bills that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="images of the local engine")
    parser.add_argument("--output-dir", type=Path, default=ROOT / "build" / "sbom")
    values = parser.parse_args()
    values.output_dir.mkdir(parents=True, exist_ok=True)
    for requirements in sorted((ROOT / "deploy" / "requirements").glob("*.txt")):
        _write_bill_of_package(requirements, values.output_dir / f"{requirements.stem}.cdx.json")
    for image in values.images:
        name = image.replace("/", "_").replace(":", "-")
        _write_bill_of_image(image, values.output_dir / f"image-{name}.cdx.json")


def _write_bill_of_package(requirements: Path, output: Path) -> None:
    """Write the bill of the package with the pinned libraries of a file, and their hashes."""
    subprocess.run(
        [
            # No warning that a list of libraries does not say which one needs which.
            *(sys.executable, "-W", "ignore::UserWarning", "-m", "cyclonedx_py"),
            *("requirements", str(requirements)),
            *("--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "application"),
            *("--spec-version", "1.6", "--output-reproducible", "--output-file", str(output)),
        ],
        check=True,
    )
    print(output)


def _write_bill_of_image(image: str, output: Path) -> None:
    """Write the bill of what is installed in an image."""
    components = [*_python_components(image), *_debian_components(image)]
    bom = Bom(components=components)
    digest = _run("docker", "image", "inspect", "--format", "{{.Id}}", image).strip()
    container = Component(type=ComponentType.CONTAINER, name=image, version=digest)
    bom.metadata.component = container
    bom.register_dependency(container, components)
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"{image}: the bill is not valid CycloneDX: {error}")
    output.write_text(f"{text}\n", encoding="utf-8")
    print(f"{output}: {len(components)} components")


def _python_components(image: str) -> Iterator[Component]:
    found = json.loads(_in_image(image, "python3", "-c", _PYTHON_PACKAGES))
    for name, version in sorted({(name.lower(), version) for name, version in found}):
        yield Component(name=name, version=version, purl=PackageURL("pypi", None, name, version))


def _debian_components(image: str) -> Iterator[Component]:
    """Yield the packages of dpkg; none if the image is not of Debian's kind."""
    first, *lines = _in_image(image, "sh", "-c", _DEBIAN_PACKAGES).splitlines()
    family, distribution = first.split()
    if not lines:
        print(f"{image}: {distribution} has no dpkg; only Python packages are listed")
    for name, version, architecture in map(str.split, lines):
        qualifiers = {"arch": architecture, "distro": distribution}
        url = PackageURL("deb", family, name, version, qualifiers)
        yield Component(name=name, version=version, purl=url)


def _in_image(image: str, command: str, *arguments: str) -> str:
    return _run(
        *("docker", "run", "--rm", "--network", "none", "--entrypoint", command, image),
        *arguments,
    )


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])} failed: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    main()

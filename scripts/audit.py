"""Ask whether the versions in requirements.lock have known vulnerabilities; run by make audit.

Exit code 0 where none is known or nobody could be asked, which is said; 1 where one was found; 2 where pip-audit fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"
SERVICES = ("pypi", "osv")
LIMIT_S = 900
_UNREACHABLE = (
    "ConnectionError",
    "Connection",
    "connect",
    "Timeout",
    "timed out",
    "ServiceError",
    "resolve",
    "Network",
)

Ask = Callable[[str], tuple[int, str, str]]


def ask(service: str) -> tuple[int, str, str]:
    """Exit code and both outputs of pip-audit; the lock is complete, so that nothing is installed or resolved."""
    words = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--disable-pip", "--require-hashes"]
    words += ["--vulnerability-service", service, "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    return done.returncode, done.stdout, done.stderr


def told(answer: tuple[int, str, str]) -> list[dict[str, Any]] | None:
    """What a service told of each package; None where it could not be reached.

    Raises
    ------
    RuntimeError
        If pip-audit failed for another reason.
    """
    code, out, error = answer
    try:
        return list(json.loads(out)["dependencies"])
    except (json.JSONDecodeError, KeyError, TypeError):
        if any(word in error for word in _UNREACHABLE):
            return None
        last = error.strip().splitlines()[-1:] or [f"exit code {code}"]
        raise RuntimeError(f"pip-audit failed: {last[0]}") from None


def verdict(packages: Sequence[dict[str, Any]]) -> tuple[int, list[str]]:
    """Exit code and lines; a package that the service does not know was not audited, whatever pip-audit concludes."""
    asked = [package for package in packages if "skip_reason" not in package]
    found = [(package, hole) for package in asked for hole in package.get("vulns", [])]
    lines = [
        f"{package['name']} {package['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'none'}"
        for package, hole in found
    ]
    unknown = sorted(package["name"] for package in packages if "skip_reason" in package)
    if unknown:
        lines.append(
            f"not audited, since the service does not know them: {len(unknown)} ({', '.join(unknown[:8])}, ...)"
        )
    lines.append(
        f"{len(found)} known vulnerabilities in {len(asked)} of {len(packages)} packages that were asked about"
    )
    return (1 if found else 0), lines


def audit(ask_service: Ask = ask) -> int:
    """Ask one service after the other until one knows the packages; print what it says."""
    for service in SERVICES:
        try:
            packages = told(ask_service(service))
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            print(f"audit by {service}: {error}", file=sys.stderr)
            return 2
        if packages is None:
            print(f"audit by {service}: could not be reached")
        elif not any("skip_reason" not in package for package in packages):
            print(f"audit by {service}: knows none of the {len(packages)} packages; an index without audits answers so")
        else:
            code, lines = verdict(packages)
            print("\n".join(f"audit by {service}: {line}" for line in lines))
            return code
    print("NOT AUDITED: no service could be asked; run make audit again where there is a network")
    return 0


if __name__ == "__main__":
    sys.exit(audit())

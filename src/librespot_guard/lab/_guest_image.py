"""The disk of the guest: Debian 12 with systemd, made once by mmdebstrap as an ext4 image, with its kernel beside it.

mmdebstrap checks each package against the signed lists of the distribution. Where this machine is a Debian 12 itself, its own package
sources are taken. As an ordinary user mmdebstrap needs lines in /etc/subuid and /etc/subgid (its unshare mode).

Boots without udev in the initial RAM disk (tiny-initramfs) and without what no test needs: under emulation that is half of the time.
"""

import hashlib
import os
import secrets
import shlex
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from librespot_guard.lab import _guest_agent, _install
from librespot_guard.lab._install import Progress, Unavailable

SUITE = "bookworm"
ADDRESS, ADDRESS6 = "192.168.10.2", "fd00:10::2"
_PACKAGES = (
    "systemd-sysv",
    "dbus",
    # with these a user has a manager of his own, as on an installed Debian
    "libpam-systemd",
    "dbus-user-session",
    "udev",
    "nftables",
    "iproute2",
    "iptables",
    "conntrack",
    "python3",
    "linux-image-cloud-amd64",
    "tiny-initramfs",
)
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_MASKED = (
    *(f"modprobe@{name}.service" for name in ("configfs", "dm_mod", "drm", "efi_pstore", "fuse", "loop")),
    *(f"{name}.timer" for name in ("apt-daily", "apt-daily-upgrade", "dpkg-db-backup", "e2scrub_all", "fstrim")),
    *(f"{name}.mount" for name in ("dev-hugepages", "dev-mqueue", "sys-fs-fuse-connections", "sys-kernel-config")),
    *(f"{name}.mount" for name in ("sys-kernel-debug", "sys-kernel-tracing")),
    *(f"systemd-{name}.service" for name in ("binfmt", "pstore", "update-utmp", "user-sessions")),
    "e2scrub_reap.service",
    "getty.target",
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-tmpfiles-clean.timer",
)
_AGENT = "/usr/local/lib/librespot-guard-agent.py"
_DEVICE = r"dev-virtio\x2dports-librespot\x2dguard.device"
_FILES = {
    "/etc/fstab": "/dev/vda / ext4 defaults 0 0\n",
    "/etc/hostname": "speaker\n",
    "/etc/hosts": "127.0.0.1 localhost\n127.0.1.1 speaker\n::1 localhost\n",
    "/etc/machine-id": "",
    # the daemons join a multicast group, which needs a route
    "/etc/systemd/network/10-eth0.network": f"""\
[Match]
Name=eth0
[Network]
Address={ADDRESS}/24
Address={ADDRESS6}/64
IPv6AcceptRA=no
[Route]
Destination=224.0.0.0/4
""",
    "/etc/systemd/system/librespot-guard-agent.service": f"""\
[Unit]
BindsTo={_DEVICE}
After={_DEVICE}
[Service]
ExecStart=/usr/bin/python3 {_AGENT}
[Install]
WantedBy=multi-user.target
""",
}
_BEFORE = r"""
mkdir -p "$1/etc/tiny-initramfs"
printf 'AUTO_MODULES=no\nMICROCODE=no\nINCLUDE_MODULES=virtio_pci,virtio_blk\n' >"$1/etc/tiny-initramfs/tiny-initramfs.conf"
"""
# /proc and /sys are mounted in the new root: a bind mount shows it without them
_PACK = r"""
for unit in librespot-guard-agent systemd-networkd; do
  chroot "$1" systemctl --quiet enable "$unit.service"
done
rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/var/log/*.log
cp -L "$1"/boot/vmlinuz-* "$out/vmlinuz"
cp -L "$1"/boot/initrd.img-* "$out/initrd"
mkdir "$1.view"
mount --bind "$1" "$1.view"
truncate --size 1G "$out/disk"
mke2fs -q -F -t ext4 -d "$1.view" "$out/disk"
umount "$1.view"
rmdir "$1.view"
chmod 0644 "$out"/*
"""
_DAY = 86400
_NAMES = ("vmlinuz", "initrd", "disk")
_TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
}


@dataclass(frozen=True, slots=True)
class Image:
    """The files of a guest: kernel, initial RAM disk, and the disk that nobody may write to."""

    folder: Path

    @property
    def kernel(self) -> Path:
        """The kernel."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The initial RAM disk."""
        return self.folder / "initrd"

    @property
    def disk(self) -> Path:
        """The root file system, raw and sparse."""
        return self.folder / "disk"


def available() -> Image | None:
    """The image, if it is in the cache and can be booted here."""
    image = Image(_folder())
    there = all((image.folder / name).is_file() for name in _NAMES)
    return image if there and shutil.which("qemu-system-x86_64") else None


def obtain(progress: Progress) -> Image:
    """The image, made now if it is not in the cache. Raises Unavailable."""
    _need_tools()
    folder = _folder()

    def fill(target: Path) -> None:
        progress(f"making a guest with Debian 12 ({SUITE}); this takes one or two minutes, once")
        _make(target)

    _install.install(folder, [folder / name for name in _NAMES], fill, needs_mb=1500, progress=progress)
    for old in folder.parent.glob("guest-*"):
        if old != folder and old.stat().st_mtime < time.time() - _DAY:
            shutil.rmtree(old, ignore_errors=True)
    return Image(folder)


def _last_hook() -> str:
    """What is done in the new root when all packages are there."""
    files = {**_FILES, _AGENT: Path(_guest_agent.__file__).read_text(encoding="utf-8")}
    masked = [f'ln -sf /dev/null "$1/etc/systemd/system/{unit}"' for unit in _MASKED]
    written = [f'printf %s {shlex.quote(text)} >"$1{path}"' for path, text in files.items()]
    return "\n".join(["set -e", *masked, *written, _PACK])


def _folder() -> Path:
    recipe = "\n".join([*_PACKAGES, _BEFORE, _last_hook()])
    return _install.cache() / f"guest-{SUITE}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def _need_tools() -> None:
    if os.uname().machine != "x86_64":
        raise Unavailable(
            f"the guest is an x86_64, and this machine is {os.uname().machine}: emulation would be too slow"
        )
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    missing = [package for tool, package in _TOOLS.items() if shutil.which(tool, path=path) is None]
    if missing:
        raise Unavailable(f"the guest needs {', '.join(missing)}", hint=f"`apt-get install {' '.join(missing)}`")


def _make(target: Path) -> None:
    """Have mmdebstrap fill a folder with the three files."""
    with tempfile.TemporaryDirectory(prefix="librespot-guard-guest-") as parent:
        # in unshare mode a subordinate user writes here; nobody else can guess the name
        Path(parent).chmod(0o711)
        out = Path(parent) / secrets.token_hex(16)
        out.mkdir()
        out.chmod(0o777)
        argv = [
            "mmdebstrap",
            "--variant=minbase",
            f"--mode={'root' if os.geteuid() == 0 else 'unshare'}",
            "--format=null",
            "--architectures=amd64",
            f"--include={','.join(_PACKAGES)}",
            "--aptopt=APT::Install-Recommends false",
            "--dpkgopt=force-unsafe-io",
            *(f"--aptopt={line}" for line in _proxies()),
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")),
            f"--essential-hook={_BEFORE}",
            f"--customize-hook=out={shlex.quote(str(out))}\n{_last_hook()}",
            SUITE,
            "/dev/null",
            *_sources(),
        ]
        env = {**os.environ, "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"}
        _install.quietly(argv, "mmdebstrap could not make the guest", env=env)
        for name in _NAMES:
            _install.quietly(
                ["cp", "--sparse=always", str(out / name), str(target / name)], f"{name} could not be kept"
            )


def _proxies() -> list[str]:
    said = subprocess.run(
        ["apt-config", "dump", "--no-empty", "Acquire::http::Proxy", "Acquire::https::Proxy"],
        capture_output=True,
        text=True,
        check=False,
    )
    return [line.rstrip(";") for line in said.stdout.splitlines() if line.endswith(";")]


def _sources() -> list[str]:
    """The package sources of this machine where they are of the same distribution; else none, and mmdebstrap takes its own."""
    form = f"--format=deb [signed-by={_KEYRING}] $(REPO_URI) $(RELEASE) main"
    said = subprocess.run(
        ["apt-get", "indextargets", form, "Created-By: Packages", "Component: main", "Origin: Debian"],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = dict.fromkeys(line for line in said.stdout.splitlines() if line.split()[3].startswith(SUITE))
    return list(lines) if Path(_KEYRING).is_file() and any(line.split()[3] == SUITE for line in lines) else []

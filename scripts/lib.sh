# shellcheck shell=bash
# Set-up that the scripts share: Debian packages, a virtual environment, a Rust toolchain. Sourced, not run.
#
# Every step says in one line on stderr what it does, does nothing when there is nothing to do, and may run twice at once.
# Exit status 3: this machine lacks something that can't be installed from here.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
: "${HOME:=$(getent passwd "$(id -u)" | cut -d: -f6)}"
export HOME
cache=${XDG_CACHE_HOME:-$HOME/.cache}/librespot-guard
python=${PYTHON:-/usr/bin/python3}
# shellcheck disable=SC2034 # the scripts that check and generate use it
test_requirements=(-e '.[lab,bdd]' --group dev)

# nft and ip live in sbin, which an ordinary user's PATH on Debian lacks; the caller's Python environment is none of ours
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV PIP_USER PIP_TARGET PIP_PREFIX

say() { printf '> %s\n' "$*" >&2; }

die() { # die MESSAGE [HINT]
  printf 'error: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf '\nhint: %s\n' "$2" >&2
  exit 3
}

# One set-up at a time. The kernel drops the lock with the process that holds it.
lock() {
  mkdir -p "$cache"
  exec 9>"$cache/setup.lock"
  flock --nonblock 9 && return
  say "waiting for another set-up that is under way"
  flock 9
}

unlock() { exec 9>&-; }

# Runs a command and shows what it printed only if it fails.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 </dev/null 9>&- || status=$?
  [ "$status" = 0 ] || cat "$log" >&2
  rm -f "$log"
  return "$status"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Which of these Debian packages are not installed, on one line.
missing_packages() {
  local package installed
  installed=" $(dpkg-query -W -f '${db:Status-Status}:${Package} ' "$@" 2>/dev/null || true)"
  for package; do
    [[ $installed == *" installed:$package "* ]] || printf '%s ' "$package"
  done
}

apt() {
  quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 "$@"
}

# `apt-get update` does not wait for the lock of the package lists, so we do.
apt_update() {
  local tries
  for tries in 1 2 3 4 5 6; do
    ! apt update || return 0
    [ "$tries" = 6 ] || { say "\`apt-get update\` failed, once more in 10 seconds" && sleep 10; }
  done
  die "\`apt-get update\` failed" "see its messages above: is there a connection to the package mirror"
}

# need_packages PACKAGE...: install what is missing.
need_packages() {
  local missing
  if ! command -v apt-get >/dev/null; then
    say "no apt-get here: taking it that what these Debian packages hold is installed: $*"
    return
  fi
  read -ra missing <<<"$(missing_packages "$@")"
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null ||
      die "these Debian packages are missing: ${missing[*]}" "as root, run \`apt-get install ${missing[*]}\`"
    # without a terminal nobody can type a password
    sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; } ||
      die "these Debian packages are missing, and sudo is not allowed here: ${missing[*]}" \
        "have an administrator run \`apt-get install ${missing[*]}\`"
  fi
  say "installing Debian packages: ${missing[*]}"
  apt_update
  apt install --no-install-recommends --no-remove "${missing[@]}" ||
    die "apt-get could not install ${missing[*]}" "see its messages above"
}

need_python() {
  [ -x "$(command -v "$python")" ] || die "$python is missing" "set PYTHON= to a Python of version 3.11 or newer"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "$python is $("$python" --version 2>&1), and 3.11 or newer is needed" \
      "use Debian 12 or newer, or set PYTHON= to a newer Python"
}

# need_venv KIND PIP_ARGUMENTS...: sets $venv to a virtual environment with this checkout installed in it (editable).
# Its name changes with the Python, the checkout and the dependencies. It counts only when its last file, `ready`, is there.
need_venv() {
  local kind=$1 key
  shift
  need_python
  key=$({ "$python" -c 'import sys; print(sys.executable, sys.version)' && printf '%s\n' "$root" "$@" && cat "$root/pyproject.toml"; } |
    sha256sum | cut -c1-12)
  venv=$cache/venv-$kind-$key
  [ ! -e "$venv/ready" ] || return 0
  say "making a virtual environment: $venv"
  rm -rf "$venv"
  "$python" -m venv "$venv" || die "$python could not make a virtual environment" "install the Debian package python3-venv"
  # --group needs pip 25.1
  quietly "$venv/bin/python" -m pip install --disable-pip-version-check --upgrade 'pip>=25.1' ||
    die "pip could not be brought up to date" "see its messages above: is there a connection to the package index"
  say "installing librespot-guard and what it needs into it"
  (cd "$root" && quietly "$venv/bin/python" -m pip install --disable-pip-version-check "$@") ||
    die "pip could not install librespot-guard" "see its messages above"
  printf '%s\n' "$root" >"$venv/checkout"
  touch "$venv/ready"
  remove_old_venvs "$kind"
}

# Environments of checkouts that are gone, and older ones of this checkout that nobody made within the last day.
remove_old_venvs() {
  local folder checkout
  for folder in "$cache"/venv-*; do
    if [ "$folder" = "$venv" ] || [ ! -e "$folder/ready" ]; then continue; fi
    checkout=$(cat "$folder/checkout" 2>/dev/null || true)
    if [ ! -d "$checkout" ]; then
      rm -rf "$folder"
    elif [ "$checkout" = "$root" ] && [[ ${folder##*/} == "venv-$1-"* ]] && [ -n "$(find "$folder/ready" -mtime +0)" ]; then
      rm -rf "$folder"
    fi
  done
}

# version_at_least WANTED GIVEN
version_at_least() {
  [ -n "${2:-}" ] && [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

# need_rust VERSION: a rustc and cargo at least this new, from rustup, the PATH or Debian. Fails, and says nothing, if there is none.
# Debian 12 has a new one beside its old one: rustc-web, with which it builds its browsers.
need_rust() {
  local wanted=$1 suffix candidate
  [ ! -x "$HOME/.cargo/bin/cargo" ] || PATH=$HOME/.cargo/bin:$PATH
  if command -v cargo >/dev/null && command -v rustc >/dev/null; then
    version_at_least "$wanted" "$(rustc --version 2>/dev/null | cut -d' ' -f2)" && return
  fi
  command -v apt-cache >/dev/null || return
  # a bare machine has no package lists yet
  [ -n "$(apt-cache policy rustc)" ] || (apt_update) || return
  for suffix in "" -web; do
    candidate=$(apt-cache policy "rustc$suffix" 2>/dev/null | sed -n 's/^ *Candidate: *\([0-9.]*\).*/\1/p')
    if version_at_least "$wanted" "$candidate"; then
      (need_packages "rustc$suffix" "cargo$suffix") && return
    fi
  done
  return 1
}

# Sourced by the other scripts: makes .venv with the extras they need, once per change of the requirements.

find_python() {
  local candidate
  for candidate in ${SECUREALIGN_PYTHON:-} python3.11 python3 python3.12 python3.13 python3.10; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "error: no Python 3.10 to 3.13 found; install one, or name it in SECUREALIGN_PYTHON." >&2
  return 1
}

# find_python_for_openfhe: prints the path of a Python 3.10, for which alone OpenFHE's wheels are built.
find_python_for_openfhe() {
  local candidate
  for candidate in ${SECUREALIGN_PYTHON310:-} python3.10 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.10.*/bin/python3.10; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

# make_environment FOLDER EXTRAS [PYTHON]: creates or renews a virtual environment with this checkout installed in it.
make_environment() {
  local folder=$1 extras=$2 python=${3:-} stamp
  stamp="$extras $(cat pyproject.toml constraints.txt | sha256sum)"
  if [ "$(cat "$folder/.installed" 2>/dev/null)" = "$stamp" ]; then
    return
  fi
  python=${python:-$(find_python)}
  echo "making $folder with $("$python" --version) and the extras $extras ..." >&2
  "$python" -m venv --clear "$folder"
  "$folder/bin/python" -m pip install --quiet --quiet --disable-pip-version-check -c constraints.txt -e ".[$extras]"
  echo "$stamp" > "$folder/.installed"
}

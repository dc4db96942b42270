# One line of an authorized_keys file (sshd(8)), recognised by its key; everything else in the file stays byte for byte.
# Sourced by host/install and host/guest-accounts. Bash and coreutils only: a guest may have nothing else.

key_type='' key_blob='' key_pattern=''
readonly key_characters_max=8000 # an RSA key of 16 kbit has 2800

# Takes one public key, as ssh-keygen writes it; fails when it is none.
read_key() {
  # Lengths are compared apart: glibc unfolds a bounded repetition, and takes seconds over a long one.
  [[ $1 =~ ^((ssh|ecdsa|sk)-[a-z0-9@.-]+)\ ([A-Za-z0-9+/]+=?=?)(\ .*)?$ ]] || return 1
  key_type=${BASH_REMATCH[1]} key_blob=${BASH_REMATCH[3]}
  ((${#key_blob} >= 40 && ${#key_blob} <= key_characters_max)) || return 1
  # Options are a run without blanks, save inside quotes; what only mentions the key (a comment) is somebody else's line.
  local options='([^[:blank:]"#]|"([^"\\]|\\.)*")+'
  key_pattern="^[[:blank:]]*(${options}[[:blank:]]+)?${key_type//./\\.}[[:blank:]]+${key_blob//+/\\+}([[:space:]]|\$)"
}

# Every `from=` that is let through here can stand between quotes.
is_from_pattern() { [[ $1 =~ ^[A-Za-z0-9.:*?!,/_-]+$ ]]; }

# The lines of FILE that carry the key.
key_lines() { LC_ALL=C grep -aE -- "$key_pattern" "$1" 2>/dev/null || :; }

# FILE without them. GNU sed keeps NUL bytes and a missing last newline.
without_key() { LC_ALL=C sed -E "\\%$key_pattern%d" -- "$1"; }

# put_key_line FILE LINE OWNER: LINE is the only one with the key, and the first of all, since sshd takes the first that
# fits. An empty LINE takes it out. By rename, so that sshd sees the old file or the new one.
put_key_line() {
  local file=$1 line=$2 owner=$3 new
  [[ ! -L $file ]] || return 1
  if [[ ! -d ${file%/*} ]]; then
    install -d -m 0700 -- "${file%/*}"
    given_to "$owner" "${file%/*}"
  fi
  new=$(mktemp -- "$file.XXXXXX")
  {
    [[ -z $line ]] || printf '%s\n' "$line"
    [[ ! -e $file ]] || without_key "$file"
  } >"$new"
  if [[ ! -s $new && -z $line ]]; then
    rm -f -- "$new" "$file"
    return
  fi
  if [[ -e $file ]]; then
    owner=$(stat -c %u:%g -- "$file")
    chmod --reference="$file" -- "$new"
  else
    chmod 0600 -- "$new"
  fi
  given_to "$owner" "$new"
  # sshd's StrictModes refuses what others may write.
  chmod go-w -- "$new" "${file%/*}"
  sync -- "$new"
  mv -fT -- "$new" "$file"
}

# Only root can give away; anybody else (a test) writes as himself.
given_to() { ((EUID != 0)) || chown -- "$1" "$2"; }

# For showing: nothing that a terminal would obey.
visible() { LC_ALL=C cat -v; }

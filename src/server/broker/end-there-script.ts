/**
 * For /bin/sh on the guest, from its stdin: `sh -s breakglass-end-there MARK SECONDS YOUNG`. It starts nothing (a sick guest may
 * have no process to spare) but a `sleep` where it has to wait.
 *
 * What is ours: whatever has the mark in its environment or, as the login shell, in its command line; what such a process has
 * started; and what shares its session, which sshd makes for each command, where the session's leader is ours or gone
 * (sudo and su take the mark away). Only what began since the command was sent is looked at.
 *
 * What sheds all of it, as `env -i setsid -f` does, is not found. Its cgroup would not tell it from others either: a login
 * session's scope is that of the connection, which all commands of that account share, and this one too.
 */
export const script = `
mark=BREAKGLASS_EXEC=$2
young=$4

# Of process $1: state, ppid, sid, began (in hundredths of a second since the machine did).
stat() {
  text=
  { while IFS= read -r line; do text="$text $line"; done; } 2>/dev/null < "/proc/$1/stat"
  text=\${text##*) }
  set -- $text
  [ $# -ge 20 ] || return 1
  state=$1 ppid=$2 sid=$4
  shift 19
  began=$1
}

is_marked() {
  for file in "/proc/$1/cmdline" "/proc/$1/environ"; do
    { while IFS= read -r line || [ -n "$line" ]; do
        case $line in *"$mark"*) return 0 ;; esac
      done; } 2>/dev/null < "$file"
  done
  return 1
}

look() {
  all= found=
  for at in /proc/[0-9]*; do
    pid=\${at#/proc/}
    stat "$pid" || continue
    case $state in Z | X | x) continue ;; esac
    [ "$pid" != $$ ] && [ "$began" -ge "$since" ] || continue
    all="$all $pid:$ppid:$sid"
    if is_marked "$pid"; then found="$found $pid"; fi
  done
  while [ -n "$found" ]; do
    sids=
    for each in $all; do
      split "$each"
      if has "$found" "$pid" && { has "$found" "$sid" || [ ! -d "/proc/$sid" ]; }; then sids="$sids $sid"; fi
    done
    before=$found
    for each in $all; do
      split "$each"
      has "$found" "$pid" && continue
      if has "$found" "$ppid" || has "$sids" "$sid"; then found="$found $pid"; fi
    done
    [ "$found" != "$before" ] || break
  done
}

split() { pid=\${1%%:*} sid=\${1##*:} ppid=\${1#*:} ppid=\${ppid%:*}; }

has() { case "$1 " in *" $2 "*) return 0 ;; esac; return 1; }

if ! stat $$; then
  echo "breakglass: there is no /proc here"
  exit 1
fi
since=$((began - $3 * 100))
passes=0
while :; do
  look
  if [ -n "$found" ]; then
    if [ $passes -ge 22 ]; then
      echo "breakglass: still there:$found"
      exit 1
    fi
    kill -9 $found 2>/dev/null
    young=0 passes=$((passes + 1))
    if [ $passes -ge 20 ]; then sleep 1; fi
  elif [ "$young" = 1 ]; then
    young=0
    sleep 1
  else
    break
  fi
done
if stat 1; then echo "breakglass: nothing is left"; else echo "breakglass: nothing is left in sight"; fi
`;

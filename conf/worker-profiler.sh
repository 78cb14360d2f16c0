#!/bin/bash
# Looks into a worker's JVM, inside its container and as its user:
#
#   worker-profiler.sh <pid> jstack|jmap|dump|stop <directory>
#   worker-profiler.sh <pid> start|kill
#
# worker-launcher runs it, when worker-launcher.cfg has its path as worker.profiler.script.path.
# It and every directory above it must be root's and writable by nobody else. The pid is the one
# that the container sees. Of the image it needs bash, chmod, readlink and a JDK: the tools beside
# the worker's own java are used, else those on the PATH.

set -u

# The launcher hands the script over as an open file, which none of the tools should inherit.
if [[ $0 =~ ^/(dev|proc/self)/fd/([0-9]+)$ ]]; then
  script=${BASH_REMATCH[2]}
  exec {script}<&-
fi

fail() {
  printf 'cannot profile: %s\n' "$*" >&2
  exit 1
}

[[ $# -eq 2 || $# -eq 3 ]] || fail 'expected <pid> <action> [<directory>]'
pid=$1 action=$2 directory=${3-}
[[ $pid =~ ^[1-9][0-9]*$ && -d /proc/$pid ]] || fail "no process $pid in this container"
case $action in
  jstack | jmap | dump | stop) [[ -d $directory ]] || fail "no directory '$directory' in this container" ;;
  start | kill) ;;
  *) fail "no action '$action'" ;;
esac

java=$(readlink "/proc/$pid/exe") && [[ -x ${java%/*}/jcmd ]] && PATH=${java%/*}:$PATH
# Two requests in one second must not write one file; bash before version 5 has no fractions.
printf -v now '%(%Y%m%d%H%M%S)T' -1
micros=${EPOCHREALTIME-}
now+=${micros: -6}
prefix=storm-recording-

# Runs one of the JDK's tools, a small JVM: its memory counts in the container's.
tool() {
  command -v "$1" >/dev/null || fail "the image has no $1: its JDK is a runtime only"
  "$1" -J-Xmx64m -J-XX:+UseSerialGC "${@:2}" || fail "$1 ended with $?"
}

# The group is the supervisor's, which serves the files; the JVM gives it nothing.
share() {
  chmod g+r "$1" || fail "no file '$1' was made"
  printf 'made %s\n' "$1"
}

# The recordings made by this script that are going on.
recordings() {
  local line
  tool jcmd "$pid" JFR.check | while read -r line; do
    [[ $line =~ name=\"?$prefix([0-9]+) ]] && printf '%s\n' "${BASH_REMATCH[1]}"
  done
}

dump_recordings() {
  local started found=
  for started in $(recordings); do
    found=$directory/recording-$pid-$started-$now.jfr
    tool jcmd "$pid" JFR.dump "name=$prefix$started" "filename=$found"
    share "$found"
    if [[ $action == stop ]]; then tool jcmd "$pid" JFR.stop "name=$prefix$started"; fi
  done
  [[ -n $found ]] || fail 'no recording is going on'
}

case $action in
  jstack)
    file=$directory/jstack-$pid-$now.txt
    tool jstack -l "$pid" >"$file"
    share "$file"
    ;;
  jmap)
    file=$directory/recording-$pid-$now.bin
    tool jmap "-dump:format=b,file=$file" "$pid"
    share "$file"
    ;;
  start)
    if [[ -n $(recordings) ]]; then
      echo 'a recording is going on already'
    else
      tool jcmd "$pid" JFR.start "name=$prefix$now" settings=profile
    fi
    ;;
  dump | stop) dump_recordings ;;
  kill) kill -KILL "$pid" || fail "process $pid cannot be ended" ;;
esac

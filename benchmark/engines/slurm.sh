# One task of the benchmark. SLURM sends USR1 before the time limit, and TERM when somebody cancels the job.
# In both cases the run saves and ends with 143. Before the limit the job then goes back into the queue, but only if
# something was saved: else it would do so for ever.
key=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" "$KEYS")
saved="$FOLDER/$key.saved"
rm -f "$saved"
exec >> "$LOGS/$key.log" 2>&1

limit=
trap 'limit=yes; kill -TERM "$pid" 2>/dev/null' USR1
trap 'limit=; kill -TERM "$pid" 2>/dev/null' TERM
run "$key" &
pid=$!
echo "job ${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID on $(hostname), start $((${SLURM_RESTART_COUNT:-0} + 1))"
wait "$pid"
code=$?
while kill -0 "$pid" 2>/dev/null; do # a signal ended the waiting, and the run still saves
  wait "$pid"
  code=$?
done
wait "$pid"
again=$?
[ "$again" -eq 127 ] || code=$again

if [ "$code" -eq 143 ] && [ "$limit" ]; then
  if [ ! -e "$saved" ]; then
    echo "error: the time limit ($LIMIT) is shorter than start-up and one checkpoint; raise it: --slurm time=..."
    exit 1
  fi
  trap '' TERM # requeueing sends it
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" && sleep 60
  echo "error: this job could not be queued again; give the same command to go on from what was saved"
fi
# The runs behind a beginning that failed try themselves, and leave a record of what went wrong.
if [ "$FIRST" ] && [ "$code" -eq 1 ]; then
  exit 0
fi
exit "$code"

# What all job scripts here share: a scheduler and workers by srun, a som-dask command on them, and how the job ends.
# It is sourced; the function `run_job` takes the command.
#
# Environment of sbatch:
#   SOM_DASK_INTERFACE  network interface on which scheduler and workers listen, such as ib0; by default the one that
#                       leads out
# All that is sent is encrypted with a certificate that is made for the job. It lies with its key, which only you can
# read, in a folder of the job beside the data, and is removed at the end. Dashboards listen on loopback only; the
# job's output tells how to reach that of the scheduler through ssh.
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
# The settings under which a job survives dying workers, for the scheduler and the workers too.
DASK_CONFIG=$(python3 -c 'from importlib.resources import files; print(files("som_dask") / "dask.yaml")')
export DASK_CONFIG

asked="" run="" job_folder="$PWD/.som-dask-$SLURM_JOB_ID"
stop() { asked=$1; [ -z "$run" ] || kill -TERM "$run" 2>/dev/null || true; }
trap 'stop requeue' USR1
trap 'stop end' TERM

finish() {
    local status=$1
    [ "$status" -ne 143 ] || status=75 # it was stopped before it could catch the signal
    if [ "$status" -eq 75 ] && [ "$asked" = requeue ]; then
        # The number of an array's last job is that of the whole array, too.
        local job="${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}"
        scontrol requeue "${job:-$SLURM_JOB_ID}" || echo "the job can't be put back into the queue; submit it again" >&2
    fi
    exit "$status"
}

clean_up() {
    rm -rf "$job_folder"
    jobs -p | xargs -r kill 2>/dev/null || true
}

make_certificate() (
    umask 077
    rm -rf "$job_folder"
    mkdir "$job_folder"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj "/CN=som-dask-$SLURM_JOB_ID" \
        -keyout "$job_folder/key.pem" -out "$job_folder/cert.pem" 2>"$job_folder/openssl.txt" ||
        { cat "$job_folder/openssl.txt" >&2; echo "openssl can't make a certificate for the job" >&2; exit 6; }
)

start_cluster() {
    local file="$job_folder/scheduler.json" listen=(--protocol tls) scheduler
    tls=(--tls-ca-file "$job_folder/cert.pem" --tls-cert "$job_folder/cert.pem" --tls-key "$job_folder/key.pem")
    # What they tell of ordinary events would hide the lines of the command.
    export DASK_LOGGING__DISTRIBUTED="${DASK_LOGGING__DISTRIBUTED:-warning}"
    [ -z "${SOM_DASK_INTERFACE:-}" ] || listen+=(--interface "$SOM_DASK_INTERFACE")
    srun --ntasks=1 --exact dask scheduler --scheduler-file "$file" --port 0 --dashboard-address 127.0.0.1:0 \
        "${listen[@]}" "${tls[@]}" &
    scheduler=$!
    srun --ntasks=$((SLURM_NTASKS - 1)) --exact dask worker --scheduler-file "$file" \
        --nthreads "$SLURM_CPUS_PER_TASK" --local-directory "${TMPDIR:-/tmp}" \
        --no-dashboard --dashboard-address 127.0.0.1:0 "${listen[@]}" "${tls[@]}" &
    while [ ! -s "$file" ]; do
        [ -z "$asked" ] || finish 75 # before the run has begun: it starts when the job does so again
        kill -0 "$scheduler" 2>/dev/null || { echo "the Dask scheduler did not start" >&2; exit 6; }
        sleep 1
    done
    cluster=(--scheduler-file "$file" "${tls[@]}")
}

# Run a som-dask command on a cluster of the job's own, and end the job with its status.
run_job() {
    trap clean_up EXIT
    [ "$SLURM_NTASKS" -ge 2 ] || { echo "give --ntasks=2 or more: a scheduler and workers" >&2; exit 2; }
    make_certificate
    start_cluster
    som-dask "$@" "${cluster[@]}" &
    run=$!
    [ -z "$asked" ] || kill -TERM "$run" # it came just before
    # A signal ends the wait early; the run's own status comes when it has ended.
    local status
    while true; do
        status=0
        wait "$run" || status=$?
        kill -0 "$run" 2>/dev/null || break
    done
    finish "$status"
}

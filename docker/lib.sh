# lib.sh: what docker/up, down, test and base-image share: names, the engine, compose. Sourced, not run; needs $top.
# shellcheck shell=bash disable=SC2034 # names for those who source this

say() { printf '%s\n' "$*" >&2; }
die() { printf 'docker: %s\n' "$1" >&2; exit "${2:-1}"; }

# Names that a second network on the same engine must change: project, subnet, bridge.
export COMPOSE_PROJECT_NAME=${COMPOSE_PROJECT_NAME:-enfilade}
export ENFILADE_SUBNET=${ENFILADE_SUBNET:-172.31.77} ENFILADE_BRIDGE=${ENFILADE_BRIDGE:-br-enfilade}
export ENFILADE_IMAGE=${ENFILADE_IMAGE:-enfilade:local} ENFILADE_WORKLOAD_IMAGE=${ENFILADE_WORKLOAD_IMAGE:-enfilade-workload:local}

engine_ready() { command -v docker >/dev/null && timeout 20 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

engine_needed() {
    command -v docker >/dev/null || die "there is no docker: apt-get install docker.io docker-compose" 2
    engine_ready || die "no Docker engine answers (docker version fails): start it, and run this as a user who may use it" 4
}

# compose ARGUMENTS…: docker-compose 1.29 or the v2 plugin, whichever is there; $ENFILADE_COMPOSE decides
compose() {
    local program=(docker compose)
    if [ -n "${ENFILADE_COMPOSE:-}" ]; then
        read -ra program <<<"$ENFILADE_COMPOSE"
    elif ! docker compose version >/dev/null 2>&1; then
        command -v docker-compose >/dev/null || die "there is no compose: apt-get install docker-compose" 2
        program=(docker-compose)
    fi
    timeout "${ENFILADE_COMPOSE_S:-600}" "${program[@]}" -f "$top/docker/docker-compose.yml" "$@"
}

# container SERVICE: its id, running or not; nothing when there is none
container() {
    docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" \
        --filter "label=com.docker.compose.service=$1" --filter label=com.docker.compose.oneoff=False | head -n 1
}

# state SERVICE: healthy, starting, unhealthy, exited 1, …
state() {
    local id
    id=$(container "$1")
    [ -n "$id" ] || { printf missing; return 0; }
    docker inspect -f '{{if .State.Running}}{{if .State.Health}}{{.State.Health.Status}}{{else}}running{{end}}{{else}}{{.State.Status}} {{.State.ExitCode}}{{end}}' "$id"
}

hsm_nodes=(n1 n2 n3 n4 n5 n6 n7)
serving=("${hsm_nodes[@]/%/-tokend}" "${hsm_nodes[@]}" c1 tpm workload)

# walk: the workload opens its database; the rows stand on stdout, the visits on stderr
walk() {
    timeout 120 docker exec "$(container workload)" enfilade run unlock-db --table -- \
        /usr/share/enfilade/unlock-db/show-db /srv/enfilade/device/patients.db
}

# chain: is this chain admissible under its policy, envelope, roster and status?
"""check() is written from the rules in common/documents/chain.h, each a function of its own."""
from enfilade_ref import documents
from enfilade_ref.refuse import need


class World:
    """The verified documents that judge a chain."""

    def __init__(self, policy, envelope, roster, status):
        self.policy, self.envelope, self.roster, self.status = policy, envelope, roster, status
        self.nodes = {node["name"]: node for node in roster["nodes"]}


def check_opens(w, chain):
    policy, envelope = w.policy, w.envelope
    need(chain["network"] == policy["network"] == envelope["network"] == w.roster["network"] == w.status["network"], "chain",
         "documents of different networks")
    need(chain["policy"] == policy.hash, "chain", "chain names another policy")
    need(chain["envelope"] == envelope.hash, "chain", "chain names another envelope")
    need(envelope["policy"] == policy["name"], "policy", "envelope names another policy")
    need(any(key.public == envelope.owner for key in policy["owners"]), "policy", "owner is not one of the policy's")
    need(envelope["policy_hash"] == policy.hash or documents.owner_signed(policy, envelope.owner), "policy",
         "envelope does not name this version and its owner did not sign it")
    need(chain["operation"] == envelope["operation"] and chain["operation"] in policy["operations"], "chain",
         "operation is not the envelope's or not the policy's")


def check_stages(w, chain):
    names = [[stage["name"] for stage in document["stages"]] for document in (chain, w.envelope, w.policy)]
    need(names[0] == names[1] == names[2], "chain", "stages differ in name or order")
    for listed, sealed, rule in zip(chain["stages"], w.envelope["stages"], w.policy["stages"]):
        where = f"stage {listed['name']}"
        need(listed["need"] == sealed["need"] >= rule["need"], "chain", f"{where}: need")
        need(len(listed["members"]) >= listed["need"], "chain", f"{where}: fewer members than need")
        members = {(m["slot"], m["node"]): m for m in sealed["members"]}
        for member in listed["members"]:
            key = (member["slot"], member["node"])
            need(key in members, "chain", f"{where}: {member['node']} is not a member with slot {member['slot']}")
            check_member(w, members[key], rule, where)
        check_diversity([w.nodes[m["node"]] for m in listed["members"]], listed["need"], rule, where)


def check_member(w, member, rule, where):
    node = w.nodes.get(member["node"])
    need(node is not None and "hsm" in node["roles"], "chain", f"{where}: {member['node']} is not in the roster")
    need(node["seal"] == member["seal"] and node["profile"] == member["profile"], "chain",
         f"{where}: {member['node']} has another seal key or profile now")
    for filter_, field in (("regions", "region"), ("operators", "operator"), ("vendors", "vendor")):
        need(rule[filter_] is None or node[field] in rule[filter_], "chain", f"{where}: {field} {node[field]} is not allowed")


def least_distinct(values, count):
    """How many distinct values the least diverse `count` of them have."""
    groups = sorted((values.count(value) for value in set(values)), reverse=True)
    used = 0
    while count > 0:
        count -= groups[used]
        used += 1
    return used


def check_diversity(nodes, count, rule, where):
    for field in ("region", "operator", "vendor"):
        least = rule[f"min_{field}s"] or 0
        need(least_distinct([node[field] for node in nodes], count) >= least, "chain", f"{where}: too few {field}s")


def check_distinct(w, chain):
    listed = [member["node"] for stage in chain["stages"] for member in stage["members"]]
    need(len(set(listed)) == len(listed), "chain", "one node in two slots")
    seals = [w.nodes[node]["seal"] for node in listed]
    need(len(set(seals)) == len(seals), "chain", "one seal key in two slots")


def check_revoked(w, chain):
    listed = {member["node"] for stage in chain["stages"] for member in stage["members"]}
    for item in w.status["revocations"]:
        need(item["kind"] != "node" or item["id"] not in listed, "revoked", f"node {item.get('id')} is revoked")
        need(item["kind"] != "chain" or item["hash"] != chain.hash, "revoked", "chain is revoked")
    for item in w.status["withdrawn"]:
        same = item["owner"] == w.envelope.owner and item["envelope"] == w.envelope["id"]
        need(not same or w.envelope["generation"] >= item["least_generation"], "revoked", "generation is withdrawn")
    for item in w.status["halts"]:
        need(item["network"] is None, "halted", "network is halted")
        need(item["node"] is None or item["node"] not in listed, "halted", f"node {item['node']} is halted")
        need(item["policy"] is None or item["policy"] != w.policy["name"], "halted", "policy is halted")


def check(w, chain, now_ms):
    """Refused with chain, policy, revoked, halted or expired."""
    check_opens(w, chain)
    check_stages(w, chain)
    check_distinct(w, chain)
    check_revoked(w, chain)
    need(chain["not_after"] > now_ms, "expired", "chain's not_after is past")
    need(chain["not_after"] <= now_ms + 1000 * w.policy["chain_lifetime_s"], "chain", "chain lives longer than the policy allows")

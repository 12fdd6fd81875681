"""What a new site begins with: folders, and a signed policy that allows nothing and says how to allow something."""

import secrets
from pathlib import Path

from accord.sites.folder import CODE, CUT_KEY
from accord.sites.policy import sign_policy
from accord.transport.identity import write_durably
from accord.transport.keys import load_key

DRAFT = """\
# What others may do with this site's rows. What is not allowed here is refused.
# accord site policy edit checks and signs this file; it holds from the next message on.

# Who may ask. Compare a key's fingerprint by telephone before you write it here.
requesters: []
#  - name: ada
#    organisation: university
#    key: "64 hexadecimal digits, as accord federation join printed them"

rules: []
#  - data_set: readmissions
#    requesters: [ada]
#    programs: [fedavg]
#    models: [mlp]
#    optimizers: [sgd]
#    settings:                   # other settings of program, model and training than their defaults
#      model.hidden: {most: 256}
#      training.momentum: {most: 0.9}
#    privacy:
#      units: [sample]
#      least_noise: 0.6          # least noise multiplier
#      most_delta: 1.0e-5
#    budget:                     # epsilon on these rows, composed over everything that was charged
#      delta: 1.0e-5
#      study: 3.0
#      month: 5.0
#      total: 10.0
#    bounds: {rounds: 200, local_epochs: 2, least_batch: 16, parameters: 100_000}
#    contributors: 3             # fewest sites of a study, this one included
#    leaves:
#      evaluation: {noise_multiplier: 8}   # counts over test rows, noised and charged; or exact, which is neither
#      least_group: 20           # groups of fewer test rows are withheld
#      rows_rounded_to: 100
#    approval: hand              # each study waits for: accord site approve HASH
#    expires: 2030-12-31
"""


def make_site(folder: Path, *, secret_cut: bool = True) -> None:
    """Makes a site of a member's new folder.

    Args:
        folder: the folder.
        secret_cut: whether nobody else can work out which rows are test rows. Without a secret a simulation over the
            same rows cuts them alike.
    """
    for each in ("data", "requests", "decisions", CODE):
        (folder / each).mkdir()
    if secret_cut:
        write_durably(folder / CUT_KEY, secrets.token_bytes(32).hex().encode() + b"\n", 0o600)
    policy = folder / "policy.yaml"
    policy.write_text(DRAFT, encoding="utf-8")
    sign_policy(policy, load_key(folder / "key.pem"))

"""A data owner's agent: policy, approvals, ledger, journal, and the work on rows that never leave.

The site is the judge. What the coordinator or a requester says is a request, never a permission.
"""

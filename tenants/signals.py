"""News for the slices above, which tenants must not import."""

from django.dispatch import Signal

# Sent inside the tenant's context and transaction, with: tenant, actor (User), action (str), details (dict of str).
# Actions: tenant_created, member_invited, invitation_withdrawn, member_joined, member_added, member_role_changed, member_removed,
# firm_came, firm_left.
tenancy_changed = Signal()

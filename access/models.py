# Django tells an app of the end of a `migrate` only where it has this module

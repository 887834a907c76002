"""The forms of an attention: each computes what the parts state, where it can, and says why where it cannot."""

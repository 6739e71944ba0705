"""The registry, or else its last known answers.

answers    what tags, lists of referrers and ``/v2/`` were last
breaker    whether the registry is worth a question, and the probe that finds out
registry   the registry with the disk behind it
"""

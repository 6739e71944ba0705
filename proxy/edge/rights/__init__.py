"""The registry's yes to a client, and which content it covers.

places        which content the registry gave under which repository
names         which manifests of a repository name which content
acceptances   whose credentials the registry accepted, and when
tokens        whose tokens were passed on, and tokens of the node's own
grants        who may read which content, as far as is known without a question
"""

"""The user's credentials for registries, kept where Docker keeps them.

credentials    passwords and tokens of a user
programs       another program asked, bounded in time and bytes
docker_config  Docker's configuration
docker_helper  Docker's credential helpers
lookup         the credentials for a registry
login          credentials kept, and forgotten
"""

"""Who the user is to a registry, kept where Docker keeps it.

credentials    what a user can show a registry
programs       another program asked, bounded in time and bytes
docker_config  Docker's configuration
docker_helper  Docker's credential helpers
lookup         the credentials for a registry
login          credentials kept, and forgotten
"""

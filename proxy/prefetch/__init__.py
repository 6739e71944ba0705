"""Images brought to an edge node before anyone asks for them: the job in the node, and the command that orders it.

terms       how fast, and at which time of the day
order       what is to be brought, as the command and the node tell each other
site        the file that lists what a site needs
jobs        a few at a time, each followed by the one who ordered it
endpoint    ``/edge/prefetch`` on the admin listener
identities  as whom a job asks the registry
planning    what an image takes
bringing    the work of a job
service     jobs and endpoint, opened together
client      the endpoint, asked
telling     what happens, in sentences
command     the command
"""

"""Text with which programs run an image or mount its files: commands, Compose, Kubernetes, Containerfiles.

places       the directories that hold an image's files
modelpack    annotations in the words of ModelPack
subject      an image that is to be run, and how
docker       text for Docker and Compose, and Containerfiles
kubernetes   pods, image volumes, KServe's modelcars
request      what is asked for, and the image that it is about
"""

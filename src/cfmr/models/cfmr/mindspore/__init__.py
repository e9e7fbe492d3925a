"""The published model on MindSpore. File by file and name by name the same as `../pytorch`."""

from cfmr.models.cfmr.mindspore.environment import prepare

prepare()

"""Kubernetes: how to reach the API server, list and watch, and what is known of pods.

`kubeconfig` and `access` answer where the server is and who we are; `client` asks it; `reflector` keeps a list
up to date; `metadata` holds pods thinly; `rules` turns a pod into attributes; `watches` shares all that in a process.
"""

"""Tables and pictures of finished runs, beside the published figures."""

"""Reports of a site by e-mail: the message, when it is due, and the pages where they are managed."""

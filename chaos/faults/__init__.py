"""Every kind of fault: how it is put into a copy of the project, and how it is taken away again."""

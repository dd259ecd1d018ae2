"""What makes a version of every save, whatever contents manager takes it.

`call` is one call of a manager with all that it stores; `base` is added to every manager; `asynchronous` and
`synchronous` are added to managers of either kind; `content` knows the bytes that a model stands for.
"""

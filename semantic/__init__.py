"""The semantic stage: from what a user wrote to an ordered list of models. Knows nothing of the endpoint picker."""

"""How `stages.repair` finds what DVC would take for something that it is not."""

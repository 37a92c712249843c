"""What the stages share; nothing in here knows about any one stage."""

package mount

"""What speaks to parties that are neither clients nor backends: issuers of ID tokens, GitHub, the operators' webhook."""

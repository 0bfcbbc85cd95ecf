"""What speaks to others than clients and backends: issuers of ID tokens, GitHub, the operators' webhook."""

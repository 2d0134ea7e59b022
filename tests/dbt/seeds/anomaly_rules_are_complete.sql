-- Each rule has the numbers its detector needs, in the range that makes sense of them.
{{ complaints_of_anomaly_rules() }}

package tsm

// Collateral is collateral, for fuzzing.
var Collateral = collateral

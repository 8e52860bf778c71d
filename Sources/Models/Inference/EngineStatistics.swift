// What an engine did and how full it is, for metrics. Counters only grow; time to the first token is the caller's to
// measure: an engine has no clock.

package struct EngineStatistics: Hashable, Sendable {
    // Now.
    package var sequencesLive = 0
    package var sequencesQueued = 0
    /// Rows of the last step.
    package var batchTokens = 0
    /// Sequences of the last step.
    package var batchSequences = 0
    package var pagesHeld = 0
    /// Kept for prompts to come; evicted when there is need.
    package var pagesIdle = 0
    package var pagesMax = 0
    package var pageBytes = 0
    package var adaptersKnown = 0
    package var adaptersResident = 0
    package var adapterBytes = 0
    package var adaptersLoading = 0

    // Since the start.
    package var steps: UInt64 = 0
    package var requests: UInt64 = 0
    package var refusals: UInt64 = 0
    package var finished: UInt64 = 0
    package var cancelled: UInt64 = 0
    package var expired: UInt64 = 0
    package var preemptions: UInt64 = 0
    /// Of prompts, computed.
    package var promptTokens: UInt64 = 0
    /// Of prompts, found in the cache.
    package var cachedTokens: UInt64 = 0
    /// Computed again after a preemption.
    package var recomputedTokens: UInt64 = 0
    package var answerTokens: UInt64 = 0
    /// Guessed by lookup, and of these right.
    package var draftTokens: UInt64 = 0
    package var acceptedTokens: UInt64 = 0
    package var pageEvictions: UInt64 = 0
    /// Peers that took the place of others who computed layers, and positions computed again there.
    package var stagesReplaced: UInt64 = 0
    package var refilledTokens: UInt64 = 0
    package var adapterLoads: UInt64 = 0
    package var adapterLoadFailures: UInt64 = 0
    /// Requests that found their adapter in memory.
    package var adapterHits: UInt64 = 0
    package var adapterMisses: UInt64 = 0
    package var adapterEvictions: UInt64 = 0

    package init() {}
}

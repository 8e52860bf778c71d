// Ending the process for a reason that must not be survived: a disk that refuses what was promised.

import Foundation

enum PeerExit {
    static func now(status: Int32) -> Never { exit(status) }
}

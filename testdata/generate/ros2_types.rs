//! The definitions of the ROS 2 messages, joined as rosbag2 joins them: the message's own, then each that it
//! uses, below a line and its name.

/// A type's name without the `/msg/`, and its fields.
type Definition = (&'static str, &'static str);

const TIME: Definition = ("builtin_interfaces/Time", "int32 sec\nuint32 nanosec\n");
const HEADER: Definition = ("std_msgs/Header", "builtin_interfaces/Time stamp\nstring frame_id\n");
const VECTOR: Definition = ("geometry_msgs/Vector3", "float64 x\nfloat64 y\nfloat64 z\n");
const POINT: Definition = ("geometry_msgs/Point", "float64 x\nfloat64 y\nfloat64 z\n");
const QUATERNION: Definition =
    ("geometry_msgs/Quaternion", "float64 x 0\nfloat64 y 0\nfloat64 z 0\nfloat64 w 1\n");
const TRANSFORM: Definition =
    ("geometry_msgs/Transform", "geometry_msgs/Vector3 translation\ngeometry_msgs/Quaternion rotation\n");
const TRANSFORM_STAMPED: Definition = (
    "geometry_msgs/TransformStamped",
    "std_msgs/Header header\nstring child_frame_id\ngeometry_msgs/Transform transform\n",
);
const POSE: Definition =
    ("geometry_msgs/Pose", "geometry_msgs/Point position\ngeometry_msgs/Quaternion orientation\n");
const POSE_WITH_COVARIANCE: Definition =
    ("geometry_msgs/PoseWithCovariance", "geometry_msgs/Pose pose\nfloat64[36] covariance\n");
const TWIST: Definition =
    ("geometry_msgs/Twist", "geometry_msgs/Vector3 linear\ngeometry_msgs/Vector3 angular\n");
const TWIST_WITH_COVARIANCE: Definition =
    ("geometry_msgs/TwistWithCovariance", "geometry_msgs/Twist twist\nfloat64[36] covariance\n");

/// A message type of a topic.
pub struct MessageType {
    pub name: &'static str,
    fields: &'static str,
    uses: &'static [Definition],
}

impl MessageType {
    /// The whole definition, in the schema encoding `ros2msg`.
    pub fn definition(&self) -> String {
        let mut text = self.fields.to_owned();
        for (name, fields) in self.uses {
            text += &format!("{}\nMSG: {name}\n{fields}", "=".repeat(80));
        }
        text
    }
}

pub const TF_MESSAGE: MessageType = MessageType {
    name: "tf2_msgs/msg/TFMessage",
    fields: "geometry_msgs/TransformStamped[] transforms\n",
    uses: &[TRANSFORM_STAMPED, HEADER, TIME, TRANSFORM, VECTOR, QUATERNION],
};

pub const ODOMETRY: MessageType = MessageType {
    name: "nav_msgs/msg/Odometry",
    fields: "std_msgs/Header header\nstring child_frame_id\n\
             geometry_msgs/PoseWithCovariance pose\ngeometry_msgs/TwistWithCovariance twist\n",
    uses: &[
        HEADER,
        TIME,
        POSE_WITH_COVARIANCE,
        POSE,
        POINT,
        QUATERNION,
        TWIST_WITH_COVARIANCE,
        TWIST,
        VECTOR,
    ],
};

pub const LASER_SCAN: MessageType = MessageType {
    name: "sensor_msgs/msg/LaserScan",
    fields: "std_msgs/Header header\nfloat32 angle_min\nfloat32 angle_max\nfloat32 angle_increment\n\
             float32 time_increment\nfloat32 scan_time\nfloat32 range_min\nfloat32 range_max\n\
             float32[] ranges\nfloat32[] intensities\n",
    uses: &[HEADER, TIME],
};

pub const IMU: MessageType = MessageType {
    name: "sensor_msgs/msg/Imu",
    fields: "std_msgs/Header header\n\
             geometry_msgs/Quaternion orientation\nfloat64[9] orientation_covariance\n\
             geometry_msgs/Vector3 angular_velocity\nfloat64[9] angular_velocity_covariance\n\
             geometry_msgs/Vector3 linear_acceleration\nfloat64[9] linear_acceleration_covariance\n",
    uses: &[HEADER, TIME, QUATERNION, VECTOR],
};

pub const LOG: MessageType = MessageType {
    name: "rcl_interfaces/msg/Log",
    fields: "byte DEBUG=10\nbyte INFO=20\nbyte WARN=30\nbyte ERROR=40\nbyte FATAL=50\n\
             builtin_interfaces/Time stamp\nuint8 level\nstring name\nstring msg\nstring file\n\
             string function\nuint32 line\n",
    uses: &[TIME],
};

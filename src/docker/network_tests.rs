//! Tests of the notations of networks.

use super::*;

#[test]
fn ports_are_read_as_docker_reads_them() {
    let one = |text: &str| publish(text).unwrap().remove(0);
    assert_eq!(one("80").host_ports, None);
    assert_eq!((one("8080:80/udp").host_ports, one("8080:80/udp").protocol), (Some((8080, 8080)), Protocol::Udp));
    assert_eq!(one("127.0.0.1:8080:80").host_ip, Some("127.0.0.1".parse().unwrap()));
    assert_eq!(one("127.0.0.1::80").host_ports, None);
    assert_eq!(one("[::1]:8080:80").host_ip, Some("::1".parse().unwrap()));
    assert_eq!(one("8000-8010:80").host_ports, Some((8000, 8010)));
    let many = publish("8000-8002:80-82/sctp").unwrap();
    assert_eq!((many.len(), many[2].container_port, many[2].host_ports), (3, 82, Some((8002, 8002))));
    for wrong in ["", ":", "0", "x", "80/x", "70000", "8000-8002:80-83", "1.2.3:1:2", "9-8", "a:80", "80:", "1-60000"] {
        assert!(publish(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_long_form_of_a_network_is_read() {
    let one = attachment("name=front,alias=a,alias=b,ip=10.0.0.9,gw-priority=3").unwrap();
    assert_eq!((one.network.as_str(), one.aliases.len(), one.priority), ("front", 2, 3));
    assert_eq!(one.ip, Some("10.0.0.9".parse().unwrap()));
    for wrong in ["alias=a", "name=", "name=x,ip=1", "name=x,colour=red", "", "container:"] {
        assert!(attachment(wrong).is_err(), "{wrong}");
    }
}
